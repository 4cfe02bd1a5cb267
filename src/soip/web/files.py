"""The console's files, as `scripts/console build` made them."""

from __future__ import annotations

from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

STATIC = Path(__file__).parent / "static"


class Console(StaticFiles):
    """Serves the files; those whose name carries a hash of their content are kept by browsers for good."""

    def __init__(self, directory: Path = STATIC) -> None:
        self._index = directory / "index.html"
        super().__init__(directory=directory, html=True, check_dir=False)

    async def check_config(self) -> None:
        """Files that are not built yet are told by `get_response`, not by an exception."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file, or why there is none. Raises HTTPException."""
        if not self._index.is_file():
            return PlainTextResponse("The console is not built: run 'scripts/console build'.\n", 503)
        if any(part.startswith(".") for part in Path(path).parts if part != "."):
            raise HTTPException(404)
        response = await super().get_response(path, scope)
        kept = path.startswith("assets/")
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if kept else "no-cache"
        return response
