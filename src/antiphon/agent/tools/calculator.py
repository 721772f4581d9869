"""The tool `calculator`: arithmetic, exact where it can be. The evaluator is `arithmetic`."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from antiphon.agent.tools.arguments import bounded, declare, read
from antiphon.agent.tools.arithmetic import MAX_CHARS, ArithmeticRefusedError, evaluate, show
from antiphon.agent.tools.port import Tool, ToolContext, ToolRefusedError

RESULT_CHARS = 700


class CalculatorArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `calculator` takes."""

    expression: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=MAX_CHARS,
            description="Arithmetic such as 2*(3+4)^2, sqrt(2), round(10/3, 2); no variables.",
        ),
    ]


async def _run(raw: dict[str, Any], _: ToolContext) -> str:
    expression = read(CalculatorArguments, raw).expression
    try:
        return bounded(show(evaluate(expression)), RESULT_CHARS)
    except ArithmeticRefusedError as error:
        raise ToolRefusedError(str(error)) from error


CALCULATOR = Tool(
    spec=declare("calculator", "Computes arithmetic exactly.", CalculatorArguments),
    run=_run,
    repeatable=True,
)
