"""Builds the wheel, with nothing but the standard library (PEP 517): the package is plain files."""

import base64
import hashlib
import os
import re
import zipfile

here = os.path.dirname(os.path.abspath(__file__))


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    files = dict(_package())
    name = f"cairn_store-{_of_project('version')}"
    info = f"{name}.dist-info"
    files[f"{info}/METADATA"] = _metadata().encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: cairn\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    rows = [f"{path},sha256={_digest(data)},{len(data)}" for path, data in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""]).encode()
    wheel = f"{name}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(wheel_directory, wheel), "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return wheel


def build_sdist(sdist_directory, config_settings=None):
    raise NotImplementedError("install from the checkout, or build a wheel")


def _package():
    """Path in the wheel and content of each file."""
    for folder, folders, names in os.walk(os.path.join(here, "cairn")):
        folders[:] = sorted(each for each in folders if each != "__pycache__")
        for name in sorted(names):
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                yield os.path.relpath(path, here).replace(os.sep, "/"), file.read()


def _metadata():
    with open(os.path.join(here, "README.md"), encoding="utf-8") as file:
        readme = file.read()
    return (
        f"Metadata-Version: 2.1\nName: {_of_project('name')}\nVersion: {_of_project('version')}\n"
        f"Summary: {_of_project('description')}\nRequires-Python: {_of_project('requires-python')}\n"
        f"License: Apache-2.0\nDescription-Content-Type: text/markdown\n\n{readme}"
    )


def _of_project(name):
    with open(os.path.join(here, "pyproject.toml"), encoding="utf-8") as file:
        return re.search(rf'^{name} = "(.*)"$', file.read(), re.MULTILINE).group(1)


def _digest(data):
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
