"""Distillation: a student that needs few steps, from a teacher that needs many. Knows terms and roles, and no method.

- `process`: noise processes (flow matching, variance preserving) behind one interface; `grid`: the levels of a training
- `lora`: adapters on a frozen network; `networks`: teacher, student and their opponents on one frozen base
- `terms`: the losses, each written once; `task`: puts terms together to what the trainer trains
- `adapter`: the result as a file that describes itself; `distilled`: the accelerator that uses one

A method is a recipe: a list of terms and their settings. Imports no Paddle by itself.
"""
