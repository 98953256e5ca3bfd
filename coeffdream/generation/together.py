"""The adapters of several runs in one model: what each changes is read, and all of it is put on as one sum.

Every matrix W becomes W + sum_k w_k (W_k - W), DoRA's too, and the head mixing I + sum_k w_k (alpha'_k - I).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from coeffdream.adapters.files import adapter_hashes
from coeffdream.adapters.guard import check_in_force
from coeffdream.adapters.install import Adapter
from coeffdream.adapters.summed import install_sum
from coeffdream.errors import AdapterError
from coeffdream.interop.attach import Attachment, attach
from coeffdream.interop.names import UNET
from coeffdream.interop.read import OtherAdapter
from coeffdream.interop.write import changes_of

NO_SUM = (
    "which cannot be summed with what others learned: that is for LoRA, DoRA and alpha; draw with it alone"
)


@dataclass(frozen=True)
class Learned:
    """What one run learned. matrices: its LoRA or DoRA; mixing: alpha' - I [H, H] by attention layer."""

    sha256: str
    matrices: OtherAdapter | None
    mixing: Mapping[str, Tensor]


@dataclass(frozen=True)
class Share:
    """What one run learned, and with what weights it is put on."""

    learned: Learned
    lora: float
    alpha: float


@dataclass(frozen=True)
class Together:
    """Adapters that are in force as one sum; `uninstall` leaves no trace of them."""

    mixing: Adapter
    attachment: Attachment

    def check_in_force(self) -> None:
        """Raises AdapterError when something replaced a module or a processor that holds a part of it."""
        check_in_force(self.mixing)
        modules = set(self.mixing.unet.modules())
        if not modules.issuperset(self.attachment.modules):
            raise AdapterError(
                "a layer that several LoRAs were put on was replaced (unload_lora_weights does so); take them out "
                "with coeffdream.unload(pipe), and load them again"
            )

    def guard(self) -> Any:
        """Check at every call of the UNet; returns the handle that ends it."""
        return self.mixing.unet.register_forward_pre_hook(lambda *_: self.check_in_force())

    def uninstall(self) -> None:
        self.attachment.remove()
        self.mixing.uninstall()


def taken_out(adapter: Adapter, folder: Path) -> Learned:
    """What an adapter that was loaded from `folder` learned; the UNet is then as it was.

    Raises AdapterError for a method of which no sum can be made.
    """
    if adapter.part:
        adapter.uninstall()
        raise AdapterError(f"{folder} holds {adapter.spec.method}, {NO_SUM}")
    changes = changes_of(adapter.lora)
    mixing = {path: each.coefficients.learned.detach() for path, each in adapter.processors.items()}
    adapter.uninstall()
    hashes = adapter_hashes(folder)
    sha256 = " ".join(hashes[name] for name in sorted(hashes))
    return Learned(sha256, OtherAdapter(folder, sha256, {UNET: changes}, {}) if changes else None, mixing)


def put_together(
    components: Mapping[str, Any], shares: Sequence[Share], others: Sequence[tuple[OtherAdapter, float]] = ()
) -> Together:
    """Put all of them on, in one order whatever the order given: the same pictures to the last bit.

    components: the models by name: unet, text_encoder, text_encoder_2, as far as the adapters change them.
    Raises AdapterError, with nothing put on.
    """
    ordered = sorted(shares, key=lambda share: (share.learned.sha256, share.lora, share.alpha))
    matrices = [(each.learned.matrices, each.lora) for each in ordered if each.learned.matrices]
    attachment = attach([*matrices, *others], components)
    try:
        mixing = install_sum(components[UNET], [(each.learned.mixing, each.alpha) for each in ordered])
    except AdapterError:
        attachment.remove()
        raise
    return Together(mixing, attachment)
