"""Flows that the control plane starts by itself: not in this release, said where one is asked for."""

from typing import Any, Generic, NoReturn

from taskyard._engine.definitions.decorated import P, R
from taskyard._engine.flow_runs.drawing import DrawableFlow


def refuse_deploying(call: str) -> NoReturn:
    """Refuse a call that would make a deployment, or execute its runs.

    Raises:
        NotSupported: Always.
    """
    from taskyard._prefect_names import reasons
    from taskyard._refused_calls import refuse

    refuse(call, reasons.DEPLOY)


class DeployableFlow(DrawableFlow[P, R], Generic[P, R]):
    """A flow with the methods that deploy it. Each raises `NotSupported`: there are no deployments yet."""

    def serve(self, *args: Any, **options: Any) -> None:
        """Refuse to start runs of the flow in this process when somebody asks for them."""
        refuse_deploying(f"{self.name}.serve(...)")

    def aserve(self, *args: Any, **options: Any) -> Any:
        """Refuse, like `serve`."""
        refuse_deploying(f"{self.name}.aserve(...)")

    def deploy(self, *args: Any, **options: Any) -> Any:
        """Refuse to make a deployment of the flow."""
        refuse_deploying(f"{self.name}.deploy(...)")

    def adeploy(self, *args: Any, **options: Any) -> Any:
        """Refuse, like `deploy`."""
        refuse_deploying(f"{self.name}.adeploy(...)")

    def to_deployment(self, *args: Any, **options: Any) -> Any:
        """Refuse to describe a deployment of the flow."""
        refuse_deploying(f"{self.name}.to_deployment(...)")

    def ato_deployment(self, *args: Any, **options: Any) -> Any:
        """Refuse, like `to_deployment`."""
        refuse_deploying(f"{self.name}.ato_deployment(...)")
