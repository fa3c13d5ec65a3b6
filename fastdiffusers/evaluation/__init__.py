"""Many pictures of a model, drawn in several processes, kept on disk, and judged. Imports no Paddle by itself."""

from fastdiffusers.evaluation.crew import Crew, Task, WorkFailed
from fastdiffusers.evaluation.drawing import draw
from fastdiffusers.evaluation.judging import Judgement, judge
from fastdiffusers.evaluation.picture_set import PictureSet, save_pictures

__all__ = ["Crew", "Judgement", "PictureSet", "Task", "WorkFailed", "draw", "judge", "save_pictures"]
