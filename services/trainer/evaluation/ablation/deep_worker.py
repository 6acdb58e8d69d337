"""Trains one deep row: ``python -m services.trainer.evaluation.ablation.deep_worker``, a `DeepJob` on standard input.

A process of its own a row: TensorFlow never frees the graphs it has traced. Within it every split trains the same
network anew, so that a graph is traced once.
"""

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.evaluation.ablation.deep_job import DeepAnswer, DeepJob
from services.trainer.evaluation.ablation.features import milliseconds
from services.trainer.evaluation.ablation.networks import Batch, Network, build_network
from shared.vision.tensorflow_quietly import keras, tf

BATCH = 32
FEWEST_STEPS = 3  # however little time is left: a row is filled
WARM_UP = 0.1  # share of the training in which the learning rate rises
TIMED = 10
FINISH = 1.15  # a forward pass is no exact clock: time kept for the test pictures, of what they are expected to take

Indices = NDArray[np.intp]


def main(line: str, tell: Callable[[str], None]) -> None:
    """Train and test on every split of the job."""
    started = time.monotonic()
    job = DeepJob.from_json(line)
    tf.config.threading.set_intra_op_parallelism_threads(job.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(job.seed)
    trainer = _Trainer(build_network(job), job)
    for number, (name, train, test) in enumerate(job.splits):
        left = job.seconds - (time.monotonic() - started)
        answer = trainer.run(name, np.array(train), np.array(test), max(left, 0) / (len(job.splits) - number))
        tell(answer.to_json())


class _Trainer:
    """A network that can be trained again and again, from the same start or one as random."""

    def __init__(self, network: Network, job: DeepJob) -> None:
        self._network = network
        self._job = job
        self._truth = np.array(job.truth, np.float32)
        self._start = network.model.get_weights()
        self._optimiser = keras.optimizers.Adam(network.rate)
        self._optimiser.build(network.model.trainable_variables)
        self._step = tf.function(self._take_step)
        inputs = network.model.inputs[0]
        signature = [tf.TensorSpec(inputs.shape, inputs.dtype)]
        self._forward = tf.function(lambda batch: network.model(batch, training=False), input_signature=signature)
        self._ms_per_image = self._milliseconds()
        # Traced now, so that the first split has as much time to train as the others.
        some = np.resize(np.array(job.splits[0][1]), BATCH)
        self._step(network.inputs(some), self._truth[some], np.ones(BATCH, np.float32), np.float32(0))
        self._seconds_a_picture = self._time_forward(some)

    def run(self, split: str, train: Indices, test: Indices, seconds: float) -> DeepAnswer:
        """Train within `seconds`, less what judging the test pictures will take; then judge them."""
        number = int(split.rpartition("-")[2])
        random = np.random.default_rng([self._job.seed, number, len(train)])
        self._reset(random)
        seconds = min(seconds - len(test) * self._seconds_a_picture * FINISH, self._job.seconds_a_split)
        steps = self._train(train, random, seconds)
        scores = [self._forward(self._network.inputs(test[at : at + BATCH])) for at in range(0, len(test), BATCH)]
        logits = np.nan_to_num(np.concatenate([each.numpy() for each in scores])[:, 0])
        return DeepAnswer(
            split=split,
            scores=logits.tolist(),
            parameters=self._network.whole.count_params(),
            ms_per_image=self._ms_per_image,
            notes={"how": self._network.how, "epochs": steps * BATCH / len(train)},
        )

    def _train(self, train: Indices, random: np.random.Generator, seconds: float) -> int:
        """The number of steps that were taken."""
        truth = self._truth[train]
        share = np.clip(truth.mean(), 1 / len(train), 1 - 1 / len(train))
        weight_of = np.array([0.5 / (1 - share), 0.5 / share], np.float32)  # both truths count alike
        last = max(FEWEST_STEPS, self._job.epochs * len(train) // BATCH)
        began = time.monotonic()
        for step, chosen in enumerate(_batches(train, random)):
            progress = max(step / last, (time.monotonic() - began) / max(seconds, 1e-3))
            if step >= FEWEST_STEPS and progress >= 1:
                return step
            batch = _flipped(self._network.inputs(chosen), random)
            labels = self._truth[chosen]
            self._step(batch, labels, weight_of[labels.astype(int)], np.float32(_rate(progress)))
        raise AssertionError("batches never end")

    def _take_step(self, batch: Any, labels: Any, weights: Any, rate: Any) -> None:
        variables = self._network.model.trainable_variables
        with tf.GradientTape() as tape:
            logits = self._network.model(batch, training=True)[:, 0]
            losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
            loss = tf.reduce_mean(weights * losses)
        self._optimiser.learning_rate.assign(rate * self._network.rate)
        self._optimiser.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    def _reset(self, random: np.random.Generator) -> None:
        """The weights that training starts from. Drawn ones are shuffled, which is as good as drawing them anew."""
        start = self._start
        if not self._network.pretrained:
            start = [
                random.permuted(value.ravel()).reshape(value.shape) if value.ndim > 1 else value for value in start
            ]
        self._network.model.set_weights(start)
        for variable in self._optimiser.variables:
            if variable is not self._optimiser.learning_rate:
                variable.assign(np.zeros(variable.shape, variable.dtype))

    def _milliseconds(self) -> float:
        """From one resized picture to its logit."""
        size = self._network.size
        function = tf.function(lambda batch: self._network.whole(batch, training=False))
        picture = tf.constant(np.zeros((1, size, size, 3), np.uint8))
        function(picture)  # traces
        return milliseconds(function, [picture] * TIMED)

    def _time_forward(self, some: Indices) -> float:
        batch = self._network.inputs(some)
        self._forward(batch)
        began = time.perf_counter()
        self._forward(batch)
        return (time.perf_counter() - began) / len(some)


def _batches(train: Indices, random: np.random.Generator) -> Iterator[Indices]:
    """Without end, `BATCH` pictures each: every one once an epoch."""
    waiting = np.empty(0, train.dtype)
    while True:
        while len(waiting) < BATCH:
            waiting = np.concatenate([waiting, random.permutation(train)])
        yield waiting[:BATCH]
        waiting = waiting[BATCH:]


def _flipped(batch: Batch, random: np.random.Generator) -> Batch:
    """A defect is one whichever way it is looked at."""
    flipped = batch.copy()
    for axis in (1, 2):
        chosen = random.random(len(batch)) < 0.5
        flipped[chosen] = np.flip(flipped[chosen], axis)
    return flipped


def _rate(progress: float) -> float:
    """Share of the highest learning rate: up in a straight line, down along a cosine."""
    if progress < WARM_UP:
        return max(progress / WARM_UP, 0.05)
    return float(0.5 * (1 + np.cos(np.pi * min(progress, 1))))


if __name__ == "__main__":
    main(sys.stdin.readline(), lambda answer: print(answer, flush=True))
