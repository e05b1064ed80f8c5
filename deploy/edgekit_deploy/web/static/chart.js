"use strict";
// Two curves over the last minute, in milliseconds, drawn on a canvas.
class Chart {
  constructor(canvas, seconds = 60) {
    this.canvas = canvas;
    this.seconds = seconds;
    this.points = [];
  }

  add(age, invoke) {
    const now = performance.now() / 1000;
    this.points.push({ now, age, invoke });
    while (this.points.length && this.points[0].now < now - this.seconds) this.points.shift();
  }

  draw() {
    const { canvas } = this;
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width || !height) return;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const top = niceCeiling(Math.max(1, ...this.points.map((point) => Math.max(point.age, point.invoke))));
    pen.font = "11px system-ui, sans-serif";
    const label = (part) => (part ? `${short(top * part)} ms` : "0");
    const left = 10 + Math.ceil(Math.max(...[0, 0.5, 1].map((part) => pen.measureText(label(part)).width)));
    const right = width - 4, upper = 8, lower = height - 8;
    const y = (value) => lower - (lower - upper) * Math.min(1, value / top);
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    pen.lineWidth = 1;
    for (const part of [0, 0.5, 1]) {
      pen.strokeStyle = colour("--line");
      pen.beginPath();
      pen.moveTo(left, y(top * part));
      pen.lineTo(right, y(top * part));
      pen.stroke();
      pen.fillStyle = colour("--soft");
      pen.fillText(label(part), left - 6, y(top * part));
    }
    const now = performance.now() / 1000;
    const x = (time) => right - (right - left) * (now - time) / this.seconds;
    for (const [key, name] of [["age", "--warm"], ["invoke", "--accent"]]) {
      pen.strokeStyle = colour(name);
      pen.lineWidth = 1.5;
      pen.lineJoin = "round";
      pen.beginPath();
      let last = null;
      for (const point of this.points) {
        // A gap in time is a gap in the curve.
        if (last === null || point.now - last > 2) pen.moveTo(x(point.now), y(point[key]));
        else pen.lineTo(x(point.now), y(point[key]));
        last = point.now;
      }
      pen.stroke();
    }
  }
}

function niceCeiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}

function short(value) {
  return value >= 1000 ? String(Math.round(value)) : String(Number(value.toPrecision(2)));
}
