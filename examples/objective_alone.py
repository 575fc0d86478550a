"""The SACL objective on a plain Transformer that classifies single texts: its word embeddings are perturbed."""

import torch
from torch import nn

from sacl import SACL, Forward, ObjectiveSettings, load_corpus

corpus = load_corpus("sample")
rows = [(u.text.lower().split(), u.emotion) for u in corpus.utterances("train")]
words = {word: i for i, word in enumerate(sorted({w for text, _ in rows for w in text}), 1)}  # 0 pads


def tensors(batch):
    tokens = nn.utils.rnn.pad_sequence([torch.tensor([words[w] for w in text]) for text, _ in batch], True)
    return tokens, torch.tensor([corpus.labels.index(emotion) for _, emotion in batch])


def forward(tokens, labels):
    hidden = model.encoder(model.embedding(tokens), src_key_padding_mask=tokens == 0).amax(dim=1)
    return Forward(model.head(hidden).log_softmax(dim=1), hidden, labels)


torch.manual_seed(0)
encoder = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
model = nn.ModuleDict({"embedding": nn.Embedding(len(words) + 1, 64, 0), "encoder": encoder, "head": nn.Linear(64, 7)})
attack = {"on": ["input"], "shares": {}, "epsilon": 0.5}
settings = ObjectiveSettings(contrast_on="hidden", adversarial_contrastive_weight=0.1, adversary=attack)
objective = SACL(model, {"input": model.embedding}, settings)
optimizer = torch.optim.Adam(model.parameters(), 1e-3)
for epoch in range(5):
    clean = adversarial = 0.0
    for batch in torch.utils.data.DataLoader(rows, 32, shuffle=True, collate_fn=tensors):
        step = objective.backward(lambda batch=batch: forward(*batch))
        optimizer.step()
        optimizer.zero_grad()
        clean, adversarial = clean + step.clean.total, adversarial + step.adversarial.total
    print(f"epoch {epoch + 1}: clean loss {clean:.0f}, adversarial {adversarial:.0f}")
