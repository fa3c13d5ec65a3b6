"""One engine for training-free caches: scope × indicator × estimator.

- `stack`: a transformer's blocks as data, and tokens on their way through them
- `scopes`: where work may be left out; `indicators`: when; `estimators`: what stands in
- `design`: a product of the three with the rules that all share; what is remembered of it per guidance branch
- `ranks`: parallel ranks decide together
- `loop`: runs a design; `cache`: a design as an accelerator

Nothing here imports Paddle, so that plans can ask a cache what it would do.
"""
