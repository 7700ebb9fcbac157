"""Test equipment: lets libraries be imported without their heavy or compiled parts, which the tests never call.

torchvision registers meta kernels for operators of its compiled library when it is imported. Where that library
cannot load (beside a CPU build of torch of another release), declaring the operators is enough.

mmdet imports mmcv's compiled operators, and libraries for pictures, plots, polygons and COCO files; pytorch-toolbelt
imports OpenCV. Their losses, samplers and assigners call none of them, so empty modules stand in for those that are
absent.

Put this folder on PYTHONPATH; a normal installation needs none of it. Nothing happens before one of these libraries
is imported, and a module that is installed is never replaced.
"""

import importlib.abc
import importlib.machinery
import sys
from contextlib import suppress
from pathlib import Path


class _DeclareOperators(importlib.abc.MetaPathFinder):
    def find_spec(self, name, *_):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            spec = importlib.machinery.PathFinder.find_spec(name)
            for path in spec.submodule_search_locations if spec else ():
                for compiled in Path(path).glob("_C*"):
                    with suppress(OSError):
                        torch.ops.load_library(compiled)  # it fits this release of torch, and registers its own
                        return
            library = torch.library.Library("torchvision", "DEF")
            library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _DeclareOperators.library = library  # a library that is collected takes its operators along


class _StandIn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Asked last, so only for what is not installed."""

    ABSENT = ("cv2", "matplotlib", "pycocotools", "shapely")
    IMPORTERS = ("mmcv", "mmdet", "mmengine", "pytorch_toolbelt")

    def find_spec(self, name, *_):
        wanted = name == "mmcv._ext" or name.partition(".")[0] in self.ABSENT
        if wanted and any(importer in sys.modules for importer in self.IMPORTERS):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def exec_module(self, module):
        def attribute(name):
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (), {"__new__": _refuse, "__module__": module.__name__})

        module.__getattr__ = attribute


def _refuse(cls, *arguments, **keywords):
    raise ModuleNotFoundError(f"{cls.__module__}.{cls.__name__} was called, but {cls.__module__} is a stand-in")


sys.meta_path.insert(0, _DeclareOperators())
sys.meta_path.append(_StandIn())
