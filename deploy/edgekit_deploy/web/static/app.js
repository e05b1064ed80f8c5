"use strict";
// Reads /live: records of two big-endian uint32 (length of the figures, of the JPEG), figures as JSON, JPEG.
const $ = (id) => document.getElementById(id);
const chart = new Chart($("chart"));
const picture = $("picture");
let newest = null;      // a record that is not drawn yet; a newer one replaces it
let shownFrame = null;  // the frame that the viewer sees
let figures = {};
let aborter = null;
let paused = false;
let isDrawing = false;
let sliderTouched = 0;
let patience = 0;

class Records {
  constructor() { this.bytes = new Uint8Array(0); }

  // Adds a chunk and gives every record that is complete now.
  push(chunk) {
    const joined = new Uint8Array(this.bytes.length + chunk.length);
    joined.set(this.bytes);
    joined.set(chunk, this.bytes.length);
    const records = [];
    let offset = 0;
    while (joined.length - offset >= 8) {
      const view = new DataView(joined.buffer, offset);
      const text = view.getUint32(0), jpeg = view.getUint32(4);
      if (joined.length - offset < 8 + text + jpeg) break;
      const start = offset + 8;
      records.push({
        figures: JSON.parse(new TextDecoder().decode(joined.subarray(start, start + text))),
        jpeg: joined.slice(start + text, start + text + jpeg),
      });
      offset = start + text + jpeg;
    }
    this.bytes = joined.slice(offset);
    return records;
  }
}

function setState(name, text) {
  $("state").className = name;
  $("state").textContent = text;
}

async function watch() {
  const mine = new AbortController();
  aborter = mine;
  try {
    const response = await fetch("/live", { signal: mine.signal });
    if (response.status === 401) return location.reload();
    if (response.status === 503) throw new Error("too many viewers");
    if (!response.ok) throw new Error(`error ${response.status}`);
    const reader = response.body.getReader();
    const records = new Records();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) throw new Error("camera stopped");
      for (const record of records.push(value)) take(record);
      patience = 0;
    }
  } catch (error) {
    if (mine.signal.aborted) return;
    setState("lost", error instanceof TypeError ? "no connection" : error.message);
    patience = Math.min(10000, patience * 2 || 500);
    setTimeout(() => { if (aborter === mine && !paused && !document.hidden) watch(); }, patience);
  }
}

function stop() {
  if (aborter) aborter.abort();
  aborter = null;
}

function take(record) {
  const plain = record.figures;
  Object.assign(figures, plain);
  if (plain.worst_age !== undefined) chart.add(plain.worst_age, plain.median_invoke);
  if (record.jpeg.length) newest = record;
  else {
    showAround();
    if (plain.worst_age === undefined) setState("waiting", "no new frame");
  }
  if (newest && !isDrawing) requestAnimationFrame(draw);
}

async function draw() {
  if (isDrawing || !newest) return;
  isDrawing = true;
  const record = newest;
  newest = null;
  try {
    const bitmap = await createImageBitmap(new Blob([record.jpeg], { type: "image/jpeg" }));
    if (picture.width !== bitmap.width || picture.height !== bitmap.height) {
      picture.width = bitmap.width;
      picture.height = bitmap.height;
    }
    picture.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    shownFrame = record.figures.frame;
    picture.dataset.frame = shownFrame;
    if (!paused) setState("live", "live");
    showAnswer(record.figures);
    showAround();
  } finally {
    isDrawing = false;
    if (newest) requestAnimationFrame(draw);
  }
}

const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
const wholePercent = (share) => `${(100 * share).toFixed(0)} %`;
const milliseconds = (value) => `${value < 10 ? value.toFixed(2) : value.toFixed(1)} ms`;

function showAnswer(plain) {
  // The loop's own answer and nothing else: it alone knows hysteresis and the labels' own thresholds.
  const sure = plain.answer !== null;
  $("answer").textContent = sure ? plain.answer : "nothing sure";
  $("answer").classList.toggle("unsure", !sure);
  const list = $("top");
  while (list.children.length > plain.top.length) list.lastChild.remove();
  plain.top.forEach(([name, share], row) => {
    let line = list.children[row];
    if (!line) {
      line = document.createElement("li");
      for (const part of ["bar", "name", "percent"]) {
        line.append(Object.assign(document.createElement("span"), { className: part }));
      }
      list.append(line);
    }
    line.children[0].style.width = `${100 * share}%`;
    line.children[1].textContent = name;
    line.children[2].textContent = percent(share);
  });
}

function showAround() {
  const put = (id, value, format) => { $(id).textContent = value == null ? "–" : format(value); };
  put("fps", figures.fps, (value) => value.toFixed(1));
  put("invoke", figures.invoke, milliseconds);
  put("age", figures.age, milliseconds);
  put("dropped", figures.dropped, (value) => value.toLocaleString("en"));
  put("inferred", figures.inferred, (value) => value.toLocaleString("en"));
  put("temperature", figures.temperature, (value) => `${value.toFixed(1)} °C`);
  $("status").hidden = !figures.status;
  $("status").textContent = figures.status || "";
  // Another viewer may have moved it; not while this one does.
  if (figures.threshold != null && Date.now() - sliderTouched > 1500) showThreshold(figures.threshold);
  chart.draw();
}

function showThreshold(value) {
  $("threshold").value = value;
  $("threshold-value").textContent = wholePercent(value);
}

async function post(path, fields) {
  const response = await fetch(path, { method: "POST", body: new URLSearchParams(fields) });
  if (response.status === 401) location.reload();
  if (!response.ok) throw new Error((await response.text()).trim());
  return response.json();
}

let sending = false, wanted = null;
async function sendThreshold() {
  if (sending) return;
  sending = true;
  while (wanted !== null) {
    const value = wanted;
    wanted = null;
    try { await post("/threshold", { value }); } catch (error) { note(error.message); }
    await new Promise((done) => setTimeout(done, 200));  // a finger moves faster than anybody needs
  }
  sending = false;
}

function note(text) { $("note").textContent = text; }

$("threshold").addEventListener("input", (event) => {
  sliderTouched = Date.now();
  wanted = event.target.value;
  figures.threshold = Number(wanted);
  $("threshold-value").textContent = wholePercent(figures.threshold);
  sendThreshold();
});

$("snapshot").addEventListener("click", async () => {
  try {
    // The frame on the screen, or the newest if that is gone.
    let response = await fetch(shownFrame === null ? "/snapshot.jpg" : `/snapshot.jpg?frame=${shownFrame}`);
    if (response.status === 410) response = await fetch("/snapshot.jpg");
    if (!response.ok) throw new Error((await response.text()).trim());
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await response.blob());
    const name = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition") || "");
    link.download = name ? name[1] : "edgekit.jpg";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    note(`Snapshot ${link.download}`);
  } catch (error) { note(error.message); }
});

$("wrong").addEventListener("click", async () => {
  if (shownFrame === null) return;
  $("wrong").disabled = true;
  try { note(`Saved as ${(await post("/wrong", { frame: shownFrame })).saved}`); } catch (error) { note(error.message); }
  $("wrong").disabled = false;
});

$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", paused);
  $("pause").textContent = paused ? "Go on" : "Pause";
  if (!paused) return watch();
  stop();
  newest = null;
  setState("waiting", "paused");
  // The camera keeps this frame, so that it can still be reported.
  if (shownFrame !== null) post("/hold", { frame: shownFrame }).catch(() => {});
});

// A page that nobody sees costs the camera nothing.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) stop();
  else if (!paused && !aborter) watch();
});

fetch("/config.json").then((response) => response.json()).then((config) => {
  $("model").textContent = document.title = config.model;
  $("wrong").hidden = !config.has_reports;
  $("logout").hidden = !config.has_login;
  figures.threshold = config.threshold;
  showThreshold(config.threshold);
}).catch(() => {});
watch();
