"""What scripts/benchmark.py compares: networks of this package and their references."""


def stock_resnet18_cifar():
    """The network of `ResNet18(stem="cifar")` from Keras' own layers, with the same defaults."""
    import keras

    def conv_norm(x, width, size, stride):
        if stride > 1 and size > 1:
            x = keras.layers.ZeroPadding2D(size // 2)(x)
        padding = "valid" if stride > 1 else "same"
        x = keras.layers.Conv2D(width, size, stride, padding, use_bias=False)(x)
        return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)

    image = keras.Input((32, 32, 3))
    x = keras.layers.ReLU()(conv_norm(image, 64, 3, 1))
    for width, stride in ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
                          (512, 1)):
        y = keras.layers.ReLU()(conv_norm(x, width, 3, stride))
        y = conv_norm(y, width, 3, 1)
        if stride > 1:
            x = conv_norm(x, width, 1, stride)
        x = keras.layers.ReLU()(keras.layers.Add()([x, y]))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(100, dtype="float32")(x))


def keras_resnet50():
    import keras

    return keras.applications.ResNet50(weights=None, classifier_activation=None)


def one_convolution(groups):
    """A 3x3 convolution of 256 channels at 28x28 and a linear classifier."""
    import keras

    from keras_resnets import layers

    image = keras.Input((28, 28, 256))
    x = layers.Conv2D(256, 3, groups=groups)(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(10, dtype="float32")(x))


def ours(name, **options):
    import keras_resnets

    return keras_resnets.create_model(name, **options)


# case: (what is measured, its reference, builders of both, batch size)
PAIRS = {
    "resnet50": (
        "resnet50 at 224",
        "keras.applications.ResNet50",
        lambda: ours("resnet50"),
        keras_resnet50,
        16,
    ),
    "resnet18_cifar": (
        "resnet18 at 32",
        "the same of stock Keras layers",
        lambda: ours("resnet18", stem="cifar", num_classes=100),
        stock_resnet18_cifar,
        64,
    ),
    "grouped_conv": (
        "3x3 convolution, 256 channels, groups=32",
        "groups=1",
        lambda: one_convolution(32),
        lambda: one_convolution(1),
        16,
    ),
    "resnext50": (
        "resnext50_32x4d at 224",
        "resnet50",
        lambda: ours("resnext50_32x4d"),
        lambda: ours("resnet50"),
        16,
    ),
    "stochastic_depth": (
        "resnet110 at 32, survival=0.5",
        "resnet110",
        lambda: ours("resnet110", survival=0.5),
        lambda: ours("resnet110"),
        64,
    ),
}
