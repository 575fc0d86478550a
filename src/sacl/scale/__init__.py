"""The same jobs on Ray, one machine or many: studies, prediction over files, encoding. Needs the extra `scale`.

cluster.py      a Ray that is named is joined, or one is started here for the job, and stopped again
studies.py      tasks of `sacl.experiment.tasks` as trials of Ray Tune: it places, retries and prunes them
training.py     the same tasks one after another, each trained by all workers of Ray Train together
places.py       files by fsspec address: listed, read, and written whole
records.py      a file of conversations -> parts of some hundred records, each with its line; nothing is parsed yet
results.py      a part's results as one file: JSONL, CSV or Parquet; and what could not be read
prediction.py   parts through Ray Data to a recognizer in every worker: one file a part, which is what resuming goes by
encoding.py     an `Encoder` whose texts are encoded by Ray Data, block by block

A job is divided in the same way every time, and every piece of it is a file that is there whole or not at all. So a
worker that is killed, and a job that is started again, do over what has no file yet: no other state is kept. Folders
given as plain paths have to be seen by all machines under the same name.
"""
