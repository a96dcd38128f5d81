"""The data: what it is, how it is read, made and kept. It knows no model, no tracker and no pipeline.

cards/        a YAML file for each data set: its printed name, kind, source, licence, files
extensions    a user's own cards and Python files, which add to the tables
readers/      annotated pictures as their authors publish them, as Scene records; one table of readers
scene         the Scene record: a picture, its camera, its objects in 3D
render/       scenes drawn from a seed, with exact 3D boxes: the stand-in at tiny scale
annotate/     the geometry of pseudo-annotation: masks and depth to 3D boxes, gravity and fronts
questions/    questions, statements and captions about a scene; one table of types of question
text/         text about imagined scenes, for pretraining tiny language models
benchmark/    benchmarks of two-option questions; one table of them
conversations LLaVA's conversation records in Parquet: what a training reads
mix           how much of each data set a training takes
storage/      pictures in Parquet shards, and files brought here from S3 and the hub
viewing/      contact sheets
paper         the paper's tables, as data
errors        an error in what the user gave; ranges: bounds beside the types of parameters
"""
