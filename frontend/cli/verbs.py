"""The verbs of `nightscan`: what each is for, and the module that has it. The manual's table has the same."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb. Its module is imported when the verb is used, and has a click command of its name."""

    text: str  # one sentence, for --help and the manual
    module: str = ""  # of this package; "": named as the verb


VERBS = {
    "serve": Verb("Serve over HTTP under gunicorn, with the engine."),
    "engine": Verb("Run the engine alone, in the foreground, for a service manager."),
    "status": Verb("Say how the engine is, why, and what to do about it."),
    "config": Verb("Print every setting with its value and where that came from."),
    "deploy": Verb("Deploy a model, or swap one without losing a request.", "orders"),
    "undeploy": Verb("End a deployment once its work is done.", "orders"),
    "scale": Verb("Give a deployment another number of instances.", "orders"),
    "drain": Verb("Have a deployment take nothing new and finish what it has, or take requests again.", "orders"),
    "predict": Verb("Send a recording to a running server and show the answer."),
    "journal": Verb("Show, export and delete what has been answered."),
    "demo": Verb("See the engine at work, without a recording or a model."),
    "bench": Verb("Measure a running server: rate, latency, and where the time goes."),
    "doctor": Verb("Look at everything that the engine needs, and say what to do about what is not well."),
    "dashboard": Verb("Open the page that shows what the engine does."),
    "completion": Verb("Print what makes a shell complete commands of nightscan."),
}
