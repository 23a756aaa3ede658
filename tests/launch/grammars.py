"""What gcloud and xpk accept, as far as the launch scripts use them; from the tools' reference pages.

Their sources: cloud.google.com/sdk/gcloud/reference/compute/tpus (tpu-vm, queued-resources) and the README of
github.com/AI-Hypercomputer/xpk. A stand-in that takes any words would take those of a broken script too.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Form:
    """A command: its verb, how many names follow, and its flags (a trailing ``=`` takes a value)."""

    verb: tuple[str, ...]
    names: int
    required: frozenset[str]
    optional: frozenset[str] = frozenset()

    def fault(self, words: list[str]) -> str:
        """What the tool would say of the words after the verb; empty where it takes them."""
        flags = [word for word in words if word.startswith("--")]
        names = [word for word in words if not word.startswith("--")]
        given = [flag.partition("=")[0] + ("=" if "=" in flag else "") for flag in flags]
        if unknown := [flag for flag in given if flag not in self.required | self.optional]:
            return f"unrecognized arguments: {' '.join(unknown)}"
        if missing := self.required - set(given):
            return f"Missing required argument {' '.join(sorted(missing))}"
        if empty := [flag for flag in flags if flag.endswith("=")]:
            return f"{empty[0]}: expected one argument"
        if len(names) != self.names or not all(names):
            return f"unrecognized arguments: {' '.join(names)}"
        return ""


_TPU, _QUEUED = ("compute", "tpus", "tpu-vm"), ("compute", "tpus", "queued-resources")
_WIDE = frozenset({"--project=", "--quiet", "--format="})


def _form(verb: tuple[str, ...], names: int, required: str, optional: str = "", wide: frozenset[str] = _WIDE) -> Form:
    return Form(verb, names, frozenset(required.split()), frozenset(optional.split()) | wide)


FORMS = {
    "gcloud": (
        _form((*_TPU, "create"), 1, "--zone= --accelerator-type= --version=", "--spot"),
        _form((*_TPU, "describe"), 1, "--zone="),
        _form((*_TPU, "delete"), 1, "--zone="),
        _form((*_TPU, "ssh"), 1, "--zone=", "--worker= --command= --ssh-flag="),
        _form((*_TPU, "scp"), 2, "--zone=", "--worker= --recurse"),
        _form((*_QUEUED, "create"), 1, "--zone= --node-id= --accelerator-type= --runtime-version=", "--spot"),
        _form((*_QUEUED, "describe"), 1, "--zone="),
        _form((*_QUEUED, "delete"), 1, "--zone=", "--force"),
    ),
    "xpk": (
        _form(
            ("workload", "create"),
            0,
            "--cluster= --workload= --tpu-type= --docker-image= --command=",
            "--zone= --project= --num-slices= --priority= --max-restarts= --termination-grace-period-seconds= --spot",
            frozenset(),
        ),
    ),
}


def fault(call: list[str]) -> str:
    """What the real tool would refuse in a call, such as ``["gcloud", "compute", ...]``; empty where nothing."""
    tool, words = call[0], call[1:]
    if tool not in FORMS:
        return ""
    for form in FORMS[tool]:
        if tuple(words[: len(form.verb)]) == form.verb:
            return form.fault(words[len(form.verb) :])
    return f"Invalid choice: {' '.join(words[:4])!r}"
