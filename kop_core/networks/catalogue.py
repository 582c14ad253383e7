"""Every network that KOP has, with where it comes from and how large it was there.

Counts of parameters were looked up where ``reference`` says, and a test builds every
network as it was published and compares.
"""

from __future__ import annotations

from kop_core.networks import (
    alexnet,
    convnext,
    densenet,
    efficientnet_lite,
    efficientnet_v2,
    googlenet,
    mobilenet,
    paper,
    resnet,
    vgg,
)
from kop_core.networks.network import Network

_KERAS = "counted as in keras.applications"
_TORCH = "counted as in torchvision"
_LIMITS = "below, its poolings leave nothing of them; above, few machines have the memory"
_HEAD = (
    f"{_LIMITS}. Its published head of two dense layers makes a model's file larger than the "
    "32 MB that can be published"
)
_VGG = (
    "K. Simonyan, A. Zisserman, Very Deep Convolutional Networks for Large-Scale Image "
    "Recognition, ICLR 2015"
)
_RESNET = "K. He et al., Deep Residual Learning for Image Recognition, CVPR 2016"
_HEADS = ("pooled", "original")

NETWORKS = (
    Network(
        name="paper",
        title="Nine convolutions (Ali et al. 2025)",
        builder=paper.build,
        preparation="stretch224",
        explain_layer="conv9",
        options={"dropout": 0.5, "batch_norm_momentum": 0.99},
        reference="O. K. M. Ali, A. K. Ibrahim, B. R. Altamer, A convolution neural network "
        "model for knee osteoporosis classification using X-ray images, 2025, Table 1",
        # Beyond 292 its first dense layer is larger than a model that can be published.
        sizes=(128, 292),
        why="below, its poolings leave nothing of them; above, its dense layers outgrow "
        "what a model's file may hold",
        reference_parameters=15_610_499,
        backbone_layer="pool9",
    ),
    Network(
        name="alexnet",
        title="AlexNet",
        builder=alexnet.build,
        preparation="stretch224",
        explain_layer="conv5",
        options={"head": "pooled", "dropout": 0.5},
        reference="A. Krizhevsky, I. Sutskever, G. E. Hinton, NIPS 2012, in the form of "
        f"A. Krizhevsky, One weird trick, arXiv:1404.5997, 2014, {_TORCH}",
        sizes=(64, 512),
        why=_HEAD,
        reference_parameters=61_100_840,
        reference_classes=1000,
        reference_options={"head": "original"},
        backbone_layer="pool5",
        weights="imagenet",
        choices={"head": _HEADS},
    ),
    Network(
        name="googlenet",
        title="GoogLeNet (Inception v1)",
        builder=googlenet.build,
        preparation="stretch224",
        explain_layer="inception_5b_output",
        options={"dropout": 0.4},
        reference="C. Szegedy et al., Going Deeper with Convolutions, CVPR 2015, without the "
        "auxiliary classifiers, counted as in Caffe's bvlc_googlenet",
        why=_LIMITS,
        reference_parameters=6_998_552,
        reference_classes=1000,
    ),
    *(
        Network(
            name=f"vgg{depth}",
            title=f"VGG-{depth}",
            builder=builder,
            preparation="stretch224",
            explain_layer=f"block5_conv{vgg.REPEATS[depth][-1]}",
            options={"head": "pooled", "dropout": 0.5},
            reference=f"{_VGG}, {_KERAS}",
            why=_HEAD,
            reference_parameters=parameters,
            reference_classes=1000,
            reference_options={"head": "original"},
            backbone_layer="block5_pool",
            weights="imagenet",
            choices={"head": _HEADS},
        )
        for depth, builder, parameters in (
            (16, vgg.build16, 138_357_544),
            (19, vgg.build19, 143_667_240),
        )
    ),
    Network(
        name="resnet18",
        title="ResNet-18",
        builder=resnet.build18,
        preparation="stretch224",
        explain_layer="conv5_block2_out",
        options={"dropout": 0.0, "batch_norm_momentum": 0.9},
        reference=f"{_RESNET}, {_TORCH}",
        why=_LIMITS,
        reference_parameters=11_689_512,
        reference_classes=1000,
        counted="trainable",
    ),
    Network(
        name="resnet50",
        title="ResNet-50",
        builder=resnet.build50,
        preparation="stretch224",
        explain_layer="conv5_block3_out",
        options={"dropout": 0.0, "batch_norm_momentum": 0.99},
        reference=f"{_RESNET}, {_KERAS}",
        why=_LIMITS,
        reference_parameters=25_636_712,
        reference_classes=1000,
        weights="imagenet",
    ),
    Network(
        name="mobilenet_v2",
        title="MobileNetV2",
        builder=mobilenet.build,
        preparation="stretch224",
        explain_layer="out_relu",
        options={"variant": "torchvision", "dropout": 0.2, "batch_norm_momentum": 0.99},
        reference="M. Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, "
        f"CVPR 2018, {_KERAS}",
        why=_LIMITS,
        reference_parameters=3_538_984,
        reference_classes=1000,
        reference_options={"variant": "keras"},
        weights="imagenet",
        choices={"variant": ("torchvision", "keras")},
    ),
    Network(
        name="densenet121",
        title="DenseNet-121",
        builder=densenet.build,
        preparation="stretch224",
        explain_layer="relu",
        options={"dropout": 0.0, "batch_norm_momentum": 0.99},
        reference=f"G. Huang et al., Densely Connected Convolutional Networks, CVPR 2017, {_KERAS}",
        why=_LIMITS,
        reference_parameters=8_062_504,
        reference_classes=1000,
        weights="imagenet",
    ),
    Network(
        name="efficientnet_lite0",
        title="EfficientNet-Lite0",
        builder=efficientnet_lite.build,
        preparation="stretch224",
        explain_layer="head_relu",
        options={"dropout": 0.2, "batch_norm_momentum": 0.99},
        reference="M. Tan, Q. V. Le, EfficientNet, ICML 2019, without what small processors do "
        "slowly, counted as in github.com/tensorflow/tpu, models/official/efficientnet/lite, "
        "efficientnet_lite_builder_test.py",
        why=_LIMITS,
        reference_parameters=4_652_008,
        reference_classes=1000,
        counted="trainable",
        weights="imagenet",
    ),
    Network(
        name="efficientnet_v2_b0",
        title="EfficientNetV2-B0",
        builder=efficientnet_v2.build,
        preparation="stretch224",
        explain_layer="top_activation",
        options={"dropout": 0.2, "stochastic_depth": 0.2, "batch_norm_momentum": 0.9},
        reference="M. Tan, Q. V. Le, EfficientNetV2: Smaller Models and Faster Training, "
        f"ICML 2021, {_KERAS}",
        why=_LIMITS,
        reference_parameters=7_200_312,
        reference_classes=1000,
        weights="imagenet",
    ),
    Network(
        name="convnext_tiny",
        title="ConvNeXt-Tiny",
        builder=convnext.build,
        preparation="stretch224",
        explain_layer="stage3_block2_add",
        options={"dropout": 0.0, "stochastic_depth": 0.1},
        reference=f"Z. Liu et al., A ConvNet for the 2020s, CVPR 2022, {_KERAS}",
        why=_LIMITS,
        reference_parameters=28_589_128,
        reference_classes=1000,
        weights="imagenet",
    ),
)
