"""The accuracy-drop report: a float network against the model file made from it, image by image, on labelled images.

`make.make_report` is the door for programs, `command.command` the one for the command line. Nothing is imported here,
so that `edgekit report --help` stays quick.
"""
