"""From a TARGET to functions: a module, a Python file, `package.module:function`, a bundled adapter's name.

Runs in the candidate's own process. Every failure becomes a `LoadError` of one line.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from steelyard.conformance.candidates import Description, LoadError, Signature, with_defaults
from steelyard.conformance.contract import OptionValue, Technique
from steelyard.conformance.registry import TECHNIQUES, closest, technique

BUNDLED = Path(__file__).parent / "adapters"


@dataclass(frozen=True)
class Target:
    """A TARGET as the user wrote it, with the options that say how to read it."""

    text: str
    technique: str | None = None
    """`--as`: the technique that the function of `package.module:function` implements."""
    names: Mapping[str, str] = field(default_factory=dict)
    """`--map`: the specification's name of an argument or option -> the candidate's."""
    constants: Mapping[str, OptionValue] = field(default_factory=dict)
    """`--set`: further keywords for every call."""

    def digest(self) -> str | None:
        """SHA-256 of the target's files, if there are any: of a module there are none, its version has to do."""
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in self._files()]
        if len(digests) < 2:
            return digests[0] if digests else None
        return hashlib.sha256(" ".join(digests).encode()).hexdigest()

    def _files(self) -> list[Path]:
        if self.text.startswith("exec:"):  # what a shell finds on its path is an interpreter, not the candidate
            return [path for word in shlex.split(self.text.removeprefix("exec:")) if (path := Path(word)).is_file()]
        source = self.text if _is_file(self.text) else self.text.rpartition(":")[0]
        return [Path(source)] if _is_file(source) else []


class Adapter:
    """A loaded target: the candidate's function for each technique, called with the specification's names."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._namespace, functions = _resolve(target)
        self._functions = functions
        self._signatures = {id_: self._signature(technique(id_), f) for id_, f in functions.items()}
        self.arrays = str(getattr(self._namespace, "ARRAYS", None) or _guess_arrays(self._namespace, functions))

    @property
    def has_gradients(self) -> bool:
        """False where the adapter says `GRADIENTS = False`: its answers are for evaluation only."""
        return bool(getattr(self._namespace, "GRADIENTS", True))

    def describe(self, dtypes: tuple[str, ...]) -> Description:
        """What the adapter says of itself; `dtypes` are those of its framework."""
        declared = tuple(self._constant("DTYPES", dtypes, "names of dtypes"))
        unknown = [name for name in declared if name not in dtypes]
        if unknown:
            raise LoadError(f"{self._target.text}: DTYPES: expected some of {', '.join(dtypes)}, got {unknown[0]!r}")
        return Description(
            name=str(getattr(self._namespace, "NAME", self._target.text)),
            version=str(getattr(self._namespace, "VERSION", None) or _version(self._namespace)),
            arrays=self.arrays,
            dtypes=declared,
            devices=tuple(self._constant("DEVICES", ("cpu", "cuda"), "names of devices")),
            functions=self._signatures,
            dialects=self._dialects(),
            known=tuple(self._constant("KNOWN", (), "a list of dicts")),
        )

    def _dialects(self) -> dict[str, str]:
        declared = dict(self._constant("DIALECTS", {}, "a dict of technique: dialect"))
        for technique_id, dialect in declared.items():
            if technique_id not in TECHNIQUES:
                hint = closest(str(technique_id), list(TECHNIQUES))
                raise LoadError(f"{self._target.text}: DIALECTS: unknown technique {technique_id!r}{hint}")
            offered = [known.id for known in technique(technique_id).dialects]
            if dialect not in offered:
                names = ", ".join(offered) or "none (it has no dialects)"
                raise LoadError(
                    f"{self._target.text}: DIALECTS: {technique_id}: expected one of {names}, got {dialect!r}"
                )
        return declared

    def function(self, technique_id: str, options: Mapping[str, OptionValue]) -> Callable[..., Any]:
        """The candidate's function with the options filled in."""
        return self._bind(self._functions[technique_id], options)

    def derivatives(self, technique_id: str, options: Mapping[str, OptionValue]) -> dict[str, Callable[..., Any]]:
        """The candidate's own gradient functions, by argument: NAME_grad, or NAME_grad_ARGUMENT."""
        found = {}
        for argument in technique(technique_id).arguments:
            if argument.differentiable:
                function = self._gradient_function(technique_id, argument.name)
                if function is not None:
                    found[argument.name] = self._bind(function, options)
        return found

    def _gradient_function(self, technique_id: str, argument: str) -> Callable[..., Any] | None:
        own_name = getattr(self._functions[technique_id], "__name__", technique_id)
        for name in (technique_id, own_name):
            for spelling in (f"{name}_grad_{argument}", f"{name}_grad"):
                function = getattr(self._namespace, spelling, None)
                if callable(function):
                    return function
        return None

    def _bind(self, function: Callable[..., Any], options: Mapping[str, OptionValue]) -> Callable[..., Any]:
        names, constants = self._target.names, self._target.constants
        keywords = {names.get(name, name): value for name, value in options.items()} | dict(constants)
        parameters = _parameters(function)

        def call(**arguments: Any) -> Any:  # noqa: ANN401
            own = {names.get(name, name): value for name, value in arguments.items()}
            positional, named = _arranged(parameters, own, keywords)
            return function(*positional, **named)

        return call

    def _signature(self, contract: Technique, function: Callable[..., Any]) -> Signature:
        names = self._target.names
        parameters = _parameters(function)
        option_names = [option.name for option in contract.options]
        if parameters is None:  # built-in code does not tell: believe that it takes everything
            return Signature(frozenset(option_names), has_gradient=True)
        any_keyword = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        taken = frozenset(n for n in option_names if any_keyword or names.get(n, n) in parameters)
        keys = [names.get(a.name, a.name) for a in contract.arguments if a.is_key]
        takes_keys = all(name in parameters for name in keys)
        arguments = [
            names.get(argument.name, argument.name)
            for argument in contract.arguments
            if (takes_keys or not argument.is_key) and not argument.optional
        ]
        keywords = {names.get(n, n): None for n in taken} | dict(self._target.constants)
        problem = ""
        try:
            positional, named = _arranged(parameters, dict.fromkeys(arguments), keywords)
            inspect.signature(function).bind(*positional, **named)
        except TypeError as error:
            problem = str(error)
        has_gradient = any(
            self._gradient_function(contract.id, a.name) is not None for a in contract.arguments if a.differentiable
        )
        given = with_defaults(function)
        optional = frozenset(a.name for a in contract.arguments if names.get(a.name, a.name) in given)
        text = f"{_name(function)}{inspect.signature(function)}"
        return Signature(taken, has_gradient, takes_keys, text=text, problem=problem, optional=optional)

    def _constant(self, name: str, default: Any, expected: str) -> Any:  # noqa: ANN401
        value = getattr(self._namespace, name, default)
        kinds = Mapping if isinstance(default, Mapping) else list | tuple
        if not isinstance(value, kinds):
            raise LoadError(f"{self._target.text}: {name}: expected {expected}, got {value!r}")
        return value


def _resolve(target: Target) -> tuple[ModuleType, dict[str, Callable[..., Any]]]:
    text = target.text
    if _is_file(text):
        namespace = _load_file(Path(text))
    elif (BUNDLED / f"{text}.py").is_file():
        namespace = _load_file(BUNDLED / f"{text}.py", name=text)
    elif ":" in text:
        return _resolve_function(target)
    else:
        namespace = _import(text)
    functions = {id_: f for id_ in TECHNIQUES if callable(f := getattr(namespace, id_, None))}
    if not functions:
        defined = [n for n, v in vars(namespace).items() if callable(v) and not n.startswith("_")]
        names = f"it defines {', '.join(defined[:5])}" if defined else "it defines no function"
        raise LoadError(
            f"{text}: none of the specification's functions ({', '.join(list(TECHNIQUES)[:3])}, ...) is in it; "
            f"{names}; `steelyard list` names them all, `--as` says which one a function of yours is"
        )
    return namespace, functions


def _resolve_function(target: Target) -> tuple[ModuleType, dict[str, Callable[..., Any]]]:
    source, _, name = target.text.rpartition(":")
    namespace = _load_file(Path(source)) if _is_file(source) else _import(source)
    function: Any = namespace
    for part in name.split("."):
        function = getattr(function, part, None)
    if function is None:
        defined = [n for n, v in vars(namespace).items() if callable(v) and not n.startswith("_")]
        hint = closest(name, defined) or f"; it defines {', '.join(defined[:5]) or 'no function'}"
        raise LoadError(f"{target.text}: {source} has no {name}{hint}")
    if not callable(function):
        raise LoadError(f"{target.text}: {name} is a {type(function).__name__}, not a function")
    technique_id = target.technique or name.rpartition(".")[2]
    if technique_id not in TECHNIQUES:
        raise LoadError(
            f"{target.text}: which technique is it? say --as TECHNIQUE{closest(technique_id, list(TECHNIQUES))}; "
            f"`steelyard list` names them"
        )
    return namespace, {technique_id: function}


def _is_file(text: str) -> bool:
    return text.endswith(".py") or Path(text).is_file()


def _load_file(path: Path, *, name: str = "") -> ModuleType:
    if not path.is_file():
        neighbours = sorted(file.name for file in path.parent.glob("*.py"))
        raise LoadError(f"{path}: no such file{closest(path.name, neighbours)}")
    spec = importlib.util.spec_from_file_location(f"steelyard_target_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise LoadError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    if BUNDLED not in path.parents:  # a user's file may import its neighbours
        folder = str(path.parent.resolve())
        sys.path[:] = [folder, *(entry for entry in sys.path if entry != folder)]
    _run(name or str(path), lambda: spec.loader.exec_module(module))  # type: ignore[union-attr]
    return module


def _import(name: str) -> ModuleType:
    sys.path.insert(0, "")  # as `python -m` has it
    module: list[ModuleType] = []
    try:
        _run(name, lambda: module.append(importlib.import_module(name)))
    finally:
        sys.path.remove("")
    return module[0]


def _run(name: str, load: Callable[[], object]) -> None:
    """Run foreign top-level code; whatever it raises becomes one line."""
    try:
        load()
    except SyntaxError as error:
        place = f"{Path(error.filename or name).name} line {error.lineno}"
        raise LoadError(f"{name}: syntax error in {place}: {error.msg}") from error
    except ModuleNotFoundError as error:
        raise LoadError(_missing_module(name, error)) from error
    except SystemExit as error:
        raise LoadError(f"{name}: exits the interpreter while loading (status {error.code})") from error
    except Exception as error:
        raise LoadError(f"{name}: raised {type(error).__name__} while loading: {error}{_of_library(name)}") from error


def _of_library(name: str) -> str:
    """What to try where an installed library does not load: its compiled part may be made for another PyTorch."""
    if not (BUNDLED / f"{name}.py").is_file():
        return ""
    return f"; does `python -c 'import {name}'` work here, and is this release of it made for the PyTorch beside it?"


_INSTALLED_AS = {"cv2": "opencv-python-headless", "mmcv._ext": "mmcv (in place of mmcv-lite)", "PIL": "pillow"}
"""Modules that a library of an adapter may lack, by the package that has them, where the names differ."""


def _missing_module(name: str, error: ModuleNotFoundError) -> str:
    missing = error.name or "?"
    if missing == "torch":
        return f"{name}: PyTorch is not installed; pip install 'steelyard[torch]'"
    if (BUNDLED / f"{name}.py").is_file():
        package = _INSTALLED_AS.get(missing, missing.replace("_", "-"))
        return f"{name}: needs the library {missing}, which is not installed; pip install {package}"
    if missing == name.split(".", maxsplit=1)[0]:
        bundled = sorted(path.stem for path in BUNDLED.glob("[!_]*.py"))
        return (
            f"{name}: no module, file or bundled adapter of this name{closest(name, bundled)}; "
            f"bundled adapters: {', '.join(bundled)}"
        )
    return f"{name}: needs the module {missing}, which is not installed in {sys.executable}"


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter] | None:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return None


def _arranged(
    parameters: Mapping[str, inspect.Parameter] | None, arguments: Mapping[str, Any], keywords: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """How to hand over arrays and options: by name where the names fit, else in the order of the specification."""
    if parameters is None:
        return list(arguments.values()), dict(keywords)
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    free = [n for n, p in parameters.items() if p.kind in by_position and n not in arguments and n not in keywords]
    strange = [name for name in arguments if name not in parameters]
    if len(strange) > len(free):  # *arguments, or too few: the signature says which
        return list(arguments.values()), dict(keywords)
    place = dict(zip(strange, free, strict=False))
    values = {place.get(name, name): value for name, value in arguments.items()} | dict(keywords)
    first = [n for n, p in parameters.items() if p.kind is inspect.Parameter.POSITIONAL_ONLY and n in values]
    return [values.pop(name) for name in first], values


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def _guess_arrays(namespace: ModuleType, functions: Mapping[str, Callable[..., Any]]) -> str:
    """The framework that the candidate's own code imports; NumPy if it imports none."""
    seen: set[str] = set()
    for scope in (vars(namespace), *(getattr(f, "__globals__", {}) for f in functions.values())):
        for value in scope.values():
            origin = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
            seen.add(str(origin).split(".")[0])
    for name in ("torch", "jax"):
        if name in seen:
            return name
    return "numpy"


def _version(namespace: ModuleType) -> str:
    """Version of the distribution that holds the module."""
    top = namespace.__name__.split(".")[0]
    if isinstance(version := getattr(namespace, "__version__", None), str):
        return version
    for distribution in importlib.metadata.packages_distributions().get(top, []):
        return importlib.metadata.version(distribution)
    return ""
