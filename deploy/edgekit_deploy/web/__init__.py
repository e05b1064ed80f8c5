"""The web page of a running camera: live picture, figures, threshold, snapshot, reports of wrong answers.

`WebPage` in `page` is all that the loop needs. Nothing here is imported before a page is opened.
"""
