"""The report's network and recipe as its authors would run them: Keras, ImageDataGenerator and scikit-image's rgb2lab.

A worker of benchmarks/train.py: answers "data", "step" and "whole" with the seconds of one batch, each.

    python benchmarks/peer/keras_train.py --size 256 --batch 15 --steps 2
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from skimage.color import rgb2lab


def network(size: int, layers: list[str]) -> keras.Model:
    model = keras.Sequential([keras.Input((size, size, 1))])
    for layer in layers:
        width, _, stride = layer.partition("/")
        if layer == "up":
            model.add(keras.layers.UpSampling2D((2, 2)))
        elif layer == "head":
            model.add(keras.layers.Conv2D(2, 3, activation="tanh", padding="same"))
        else:
            model.add(keras.layers.Conv2D(int(width), 3, activation="relu", padding="same", strides=int(stride or 1)))
    model.compile(optimizer=keras.optimizers.Adagrad(learning_rate=1e-3), loss="mse")
    return model


class Clock(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds = time.perf_counter() - self.start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True, help="of model.fit, timed together as 'whole'")
    parser.add_argument("--layers", required=True, help="widths, WIDTH/2, up and head, joined by commas")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (4 * args.batch, args.size, args.size, 3), dtype=np.uint8) / np.float32(255)
    generator = ImageDataGenerator(shear_range=math.degrees(0.2), zoom_range=0.2, rotation_range=20)

    def batches():
        for rgb in generator.flow(pictures, batch_size=args.batch):
            lab = rgb2lab(rgb)
            yield lab[..., :1] / 100, lab[..., 1:] / 128

    model = network(args.size, args.layers.split(","))
    source = batches()
    batch = next(source)

    def timed(work) -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    def whole() -> float:
        clock = Clock()
        model.fit(batches(), steps_per_epoch=args.steps, verbose=0, callbacks=[clock])
        return clock.seconds / args.steps

    answers = {
        "data": lambda: timed(lambda: next(source)),
        "step": lambda: timed(lambda: model.train_on_batch(*batch)),
        "whole": whole,
    }
    about = {"versions": f"Keras {keras.__version__}, TensorFlow {tf.__version__}", "parameters": model.count_params()}
    print(json.dumps(about), flush=True)
    for line in sys.stdin:
        print(json.dumps({"seconds": answers[line.strip()]()}), flush=True)


if __name__ == "__main__":
    main()
