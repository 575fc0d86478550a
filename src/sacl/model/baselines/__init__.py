"""What SACL-LSTM is compared with, on the same inputs: one module a model.

Each is called and perturbed like `DualLSTM`: built from (input_size, classes) and the options of `ModelSettings`,
called with a batch and a generator of dropout masks, and telling by `targets()` what an adversary may move. `input`
is always there; `context` and `speaker` are there if the model has such a part.
"""
