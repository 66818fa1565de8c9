"""What a run reads, in the order in which it is used, by workers that live as long as the run."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import Dataset

from thorax.config import TrainingConfig
from thorax.data.loading import (
    Batch,
    BatchRequest,
    ImageDataset,
    TrainingBatches,
    balanced_weights,
    epoch_order,
    loader,
)
from thorax.data.streaming import StreamedBatches, streams
from thorax.training.augmenting import by_readers
from thorax.training.inputs import Hardware, TrainingData
from thorax.training.validation import Evaluator


class RunReader:
    """The batches of a run: each epoch's, then those of validation, and so on to the last epoch.

    Workers read ahead over the ends of epochs: while validation is scored, the next epoch's first batches are read.
    Which images a batch has follows from seed, epoch and step alone.

    Args:
        batch_size: images of a global batch.
        evaluator: whose share of the validation images is read.

    Attributes:
        streamed: whether shards are read in order.
    """

    def __init__(
        self, config: TrainingConfig, data: TrainingData, hardware: Hardware, batch_size: int, evaluator: Evaluator
    ) -> None:
        self.config, self.data, self.hardware, self.batch_size = config, data, hardware, batch_size
        self.evaluator, self.workers = evaluator, hardware.workers
        self.streamed = streams(config.streaming, config.balanced_sampler, data.train)
        self.weights = balanced_weights(data.train) if config.balanced_sampler else None
        self.batches: Iterator[Batch] = iter(())
        self.opened = False

    def open(self, epoch: int, step: int) -> None:
        """Starts to read at a step of an epoch, both from 0, unless it has begun; `batches` then gives what is read."""
        if self.opened:
            return
        self.opened = True
        train = self._training_images()
        images = _RunDataset(train, self.evaluator.dataset(self.data.validation))
        on_gpu = self.hardware.device.type == "cuda"
        # Augmented images have four times the bytes, and a container may have 64 MB of shared memory.
        ahead = None if train.augment is None else 2 if self.workers == 1 else 1
        self.batches = loader(images, self._requests(epoch, step), self.workers, on_gpu, ahead)

    def training(self, epochs: int) -> Iterator[Batch]:
        """The training batches of so many epochs, without those of validation."""
        requests = (request for epoch in range(epochs) for request in self._epoch(epoch, 0))
        return loader(self._training_images(), requests, self.workers, pin=self.hardware.device.type == "cuda")

    def first(self, count: int) -> Batch:
        """The first images of the run's first epoch, at most `count`, as training reads them."""
        order = epoch_order(len(self.data.train), self.config.seed, 0, self.weights)[:count]
        return self._training_images()[next(iter(TrainingBatches(order, len(order), 0, 0)))]

    def close(self) -> None:
        """Ends the workers."""
        self.batches, self.opened = iter(()), False

    def _training_images(self) -> ImageDataset:
        c, process = self.config, self.hardware.process
        return ImageDataset(
            self.data.train,
            self.data.preprocessing,
            seed=c.seed,
            random_crop=c.augmentation_type != "none",
            rank=process.rank,
            world_size=process.world_size,
            skip_corrupt=c.skip_corrupt,
            augment=by_readers(c, self.hardware),
        )

    def _requests(self, epoch: int, step: int) -> Iterator[BatchRequest]:
        for number in range(epoch, self.config.epochs):
            yield from self._epoch(number, step if number == epoch else 0)
            yield from self.evaluator.requests(self.data.validation)

    def _epoch(self, epoch: int, step: int) -> TrainingBatches:
        c, images, process = self.config, self.data.train, self.hardware.process
        if not self.streamed:
            order = epoch_order(len(images), c.seed, epoch, self.weights)
            return TrainingBatches(order, self.batch_size, epoch, step)
        return StreamedBatches(
            images, self.batch_size, c.shuffle_buffer, c.seed, epoch, step, process.rank, process.world_size
        )


class _RunDataset(Dataset[Batch]):
    """Training images where a request has an epoch, else validation images."""

    def __init__(self, train: ImageDataset, validation: ImageDataset) -> None:
        self.train, self.validation = train, validation

    def __getitem__(self, request: BatchRequest) -> Batch:
        return (self.validation if request.epoch is None else self.train)[request]
