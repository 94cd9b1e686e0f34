#!/usr/bin/env python3
"""ZFNet in PyTorch: the work of `zfnet bench step`, to compare with.

    python3 benches/peers/zfnet_torch.py --batch 32 --threads 2
    python3 benches/peers/zfnet_torch.py --device cuda --precision bf16 --batch 128

The network is that of src/net/presets/zfnet.toml. Timed are, forward: the
model in evaluation mode without gradients; training: forward with dropout,
mean cross-entropy, backward, SGD with momentum 0.9, and clearing the gradients.
The batch is ready in memory as f32, in the layout that is measured; the
crop, the copy of the batch and the RMS clip, which `zfnet` times, are not in
it. Both layouts are measured, each in a process of its own and verified before
it is timed; "best" is the better of each figure, with the memory of the layout
that trains faster. Prints one JSON object.

--keep-memory makes malloc keep freed memory for the next step (glibc returns
large blocks to the system, and PyTorch then pays for a page fault on each page
of each activation of each step): the process starts itself again with
MALLOC_MMAP_MAX_=0 and MALLOC_TRIM_THRESHOLD_=34359738368. It is PyTorch's
fair best here, and takes more memory.

On a GPU (--device cuda) cudnn.benchmark is on; --precision bf16 is autocast, tf32 allows TF32 in
products and convolutions. Beside the two layouts, channels_last is measured under torch.compile and
under torch.compile with CUDA graphs (mode reduce-overhead). Each measurement waits for the GPU.
"""

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import time

KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "34359738368"}
LAYOUTS = ("contiguous", "channels_last")
COMPILED = {"compiled": "default", "graphs": "reduce-overhead"}  # of channels_last, on a GPU
MACS = 1_168_032_896  # an image, forward, 1000 classes: `zfnet info zfnet --json`
CONV1_MACS = 110 * 110 * 96 * 7 * 7 * 3  # has no data gradient


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32, help="images in a batch (32)")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=5, help="runs of which the median is taken (5)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads for computing (all cores)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("f32", "tf32", "bf16"), default="f32")
    parser.add_argument("--layout", choices=("both", *LAYOUTS, *COMPILED), default="both")
    parser.add_argument("--keep-memory", action="store_true", help="keep freed memory between steps, see above")
    return parser.parse_args()


def zfnet(classes):
    from torch import nn

    def conv(inputs, outputs, kernel, stride=1, pad=0):
        return [nn.Conv2d(inputs, outputs, kernel, stride, pad), nn.ReLU(inplace=True)]

    def pool():
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    def lrn():
        return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0)

    def linear(inputs, outputs):
        return [nn.Linear(inputs, outputs), nn.ReLU(inplace=True), nn.Dropout(0.5)]

    model = nn.Sequential(
        *conv(3, 96, 7, 2, 1), pool(), lrn(),
        *conv(96, 256, 5, 2), pool(), lrn(),
        *conv(256, 384, 3, 1, 1),
        *conv(384, 384, 3, 1, 1),
        *conv(384, 256, 3, 1, 1), pool(),
        nn.Flatten(),
        *linear(256 * 6 * 6, 4096),
        *linear(4096, 4096),
        nn.Linear(4096, classes),
    )  # fmt: skip
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.01)
        else:
            nn.init.zeros_(parameter)
    return model


def verify(model, x, classes):
    """The sizes of the paper, and values that are worth timing."""
    import torch

    sides, y = [], x
    with torch.no_grad():
        for layer in model:
            y = layer(y)
            if isinstance(layer, (torch.nn.Conv2d, torch.nn.MaxPool2d)):
                sides.append(y.shape[2])
    if sides != [110, 55, 26, 13, 13, 13, 13, 6] or tuple(y.shape) != (len(x), classes):
        sys.exit(f"this is not ZFNet: sides {sides}, output {tuple(y.shape)}")
    if not bool(torch.isfinite(y).all()):
        sys.exit("the scores are not finite")


def median_seconds(work, steps, wait, warm_up):
    """By the clock, and of processor time, all threads together. `wait` returns when all is done."""
    for _ in range(warm_up):
        work()
    wait()
    wall, cpu = [], []
    for _ in range(steps):
        start, cpu_start = time.perf_counter(), time.process_time()
        work()
        wait()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - cpu_start)
    return statistics.median(wall), statistics.median(cpu)


def measure(layout, args):
    import torch

    torch.set_num_threads(args.threads)
    gpu = args.device == "cuda"
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = args.precision == "tf32"
    memory_format = torch.contiguous_format if layout == "contiguous" else torch.channels_last
    torch.manual_seed(1)
    model = zfnet(args.classes).to(args.device, memory_format=memory_format)
    x = (torch.rand(args.batch, 3, 224, 224) * 255 - 127.5).to(args.device).contiguous(memory_format=memory_format)
    labels = torch.randint(args.classes, (args.batch,)).to(args.device)
    verify(model.eval(), x, args.classes)
    if layout in COMPILED:
        model = torch.compile(model, mode=COMPILED[layout])
    # The first steps search for algorithms, compile, and record graphs.
    timing = {"wait": torch.cuda.synchronize if gpu else lambda: None, "warm_up": 10 if gpu else 1}

    def autocast():
        return torch.autocast(args.device, dtype=torch.bfloat16, enabled=args.precision == "bf16")

    def forward():
        with torch.no_grad(), autocast():
            model(x)

    forward_s, forward_cpu_s = median_seconds(forward, args.steps, **timing)

    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    losses = []

    def train():
        with autocast():
            loss = torch.nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.detach().clone())

    train_s, train_cpu_s = median_seconds(train, args.steps, **timing)
    losses = [loss.item() for loss in losses]
    if not all(map(math.isfinite, losses)):
        sys.exit(f"the loss is not finite: {losses}")
    macs = MACS + 4096 * (args.classes - 1000)
    return {
        "torch": torch.__version__,
        "forward_images_per_s": args.batch / forward_s,
        "train_images_per_s": args.batch / train_s,
        "forward_cpu_s": forward_cpu_s,
        "train_cpu_s": train_cpu_s,
        "forward_gflops": 2 * args.batch * macs / forward_s / 1e9,
        "train_gflops": 2 * args.batch * (3 * macs - CONV1_MACS) / train_s / 1e9,
        # Linux counts in KiB. The peak of the process so far, its libraries included.
        "peak_bytes": torch.cuda.max_memory_allocated()
        if gpu
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "loss": losses[-1],
    }


def in_a_process(layout):
    command = [sys.executable, *sys.argv, "--layout", layout]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main():
    args = arguments()
    if args.layout != "both":
        if args.keep_memory and any(os.environ.get(name) != value for name, value in KEEP_MEMORY.items()):
            os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **KEEP_MEMORY})
        print(json.dumps(measure(args.layout, args), indent=2))
        return
    layouts = (*LAYOUTS, *COMPILED) if args.device == "cuda" else LAYOUTS
    measured = {layout: in_a_process(layout) for layout in layouts}
    best = max(measured, key=lambda layout: measured[layout]["train_images_per_s"])
    of_all = {
        "layout": best,
        "forward_images_per_s": max(m["forward_images_per_s"] for m in measured.values()),
        "train_images_per_s": max(m["train_images_per_s"] for m in measured.values()),
        "forward_cpu_s": min(m["forward_cpu_s"] for m in measured.values()),
        "train_cpu_s": min(m["train_cpu_s"] for m in measured.values()),
        "peak_bytes": measured[best]["peak_bytes"],
    }
    answer = {
        "preset": "zfnet",
        "device": f"{args.device}, {args.precision}, {args.threads} threads",
        "torch": measured[best]["torch"],
        "threads": args.threads,
        "batch": args.batch,
        "classes": args.classes,
        "steps": args.steps,
        "keep_memory": args.keep_memory,
        **measured,
        "best": of_all,
    }
    print(json.dumps(answer, indent=2))


if __name__ == "__main__":
    main()
