"""Text that tells of scenes, for pretraining tiny language models: worlds imagined in words, described and discussed.
No image, no benchmark question and none of its wordings enters here; `passages.passage` is the way in."""
