"""Say in a phrase what each part is; a test holds the phrases to the tables."""

from __future__ import annotations

from collections.abc import Mapping

NETWORKS: Mapping[str, str] = {
    "DenseNet": "dense blocks whose number and width the job gives (Huang et al. 2017)",
    "DenseNet121": "dense blocks, 121 layers; the usual first choice for radiographs (Huang et al. 2017)",
    "DenseNet169": "dense blocks, 169 layers",
    "DenseNet201": "dense blocks, 201 layers",
    "DenseNet264": "dense blocks, 264 layers",
    "ResNet": "residual blocks whose number and width the job gives (He et al. 2016)",
    "resnet10": "residual blocks, 10 layers",
    "resnet18": "residual blocks, 18 layers",
    "resnet34": "residual blocks, 34 layers",
    "resnet50": "residual blocks, 50 layers",
    "SEResNet50": "residual blocks that weigh their channels (Hu et al. 2018)",
    "EfficientNetBN": "EfficientNet, b0 unless the job says otherwise (Tan and Le 2019)",
    "Classifier": "small convolutional network; for hundreds of images",
    "ViT": "vision transformer; needs many images or a start (Dosovitskiy et al. 2021)",
    "SegResNet": "encoder and decoder of residual blocks (Myronenko 2018)",
    "SegResNetDS": "SegResNet, wider and deeper by default",
    "BasicUNet": "U-Net of two convolutions a level (after Falk et al. 2019)",
    "UNet": "U-Net whose levels the job gives, with residual units if it asks for them (Kerfoot et al. 2019)",
    "DynUNet": "U-Net whose kernels and strides the job gives, as in nnU-Net (Isensee et al. 2021)",
    "AttentionUnet": "U-Net with attention gates (Oktay et al. 2018)",
    "VNet": "V-Net (Milletari et al. 2016)",
    "HighResNet": "dilated convolutions at full resolution (Li et al. 2017)",
    "UNETR": "transformer encoder, convolutional decoder (Hatamizadeh et al. 2022)",
    "SwinUNETR": "Swin transformer encoder, convolutional decoder (Hatamizadeh et al. 2022)",
}

LOSSES: Mapping[str, str] = {
    "BCEWithLogitsLoss": "cross-entropy of yes-or-no labels",
    "CrossEntropyLoss": "cross-entropy of classes, or of pixels",
    "FocalLoss": "cross-entropy that counts easy images or pixels less (Lin et al. 2017)",
    "DiceLoss": "1 - soft Dice (Milletari et al. 2016)",
    "DiceCELoss": "soft Dice and cross-entropy, as in nnU-Net (Isensee et al. 2021)",
    "DiceFocalLoss": "soft Dice and focal loss (Zhu et al. 2019)",
    "GeneralizedDiceLoss": "soft Dice with each structure weighed by its volume (Sudre et al. 2017)",
    "GeneralizedDiceFocalLoss": "generalised Dice and focal loss",
    "TverskyLoss": "soft Dice that weighs false and missed marks apart (Salehi et al. 2017)",
}

TRANSFORMS: Mapping[str, str] = {
    "AdjustContrastd": "gamma correction",
    "GaussianSharpend": "sharpen",
    "GaussianSmoothd": "blur",
    "HistogramNormalized": "equalise the histogram",
    "MedianSmoothd": "median filter",
    "NormalizeIntensityd": "subtract and divide: mean and standard deviation, or given numbers",
    "RandAdjustContrastd": "random gamma correction",
    "RandAffined": "random rotation, shear, shift and scale",
    "RandAxisFlipd": "random mirror along a random axis",
    "RandBiasFieldd": "random smooth field, as of an MR coil",
    "RandCoarseDropoutd": "random boxes are blanked",
    "RandFlipd": "random mirror along given axes",
    "RandGaussianNoised": "random noise",
    "RandGaussianSharpend": "random sharpening",
    "RandGaussianSmoothd": "random blur",
    "RandGridDistortiond": "random distortion of a grid",
    "RandHistogramShiftd": "random change of the histogram",
    "RandRotate90d": "random turns by 90 degrees",
    "RandRotated": "random rotation",
    "RandScaleIntensityd": "random factor on grey values",
    "RandShiftIntensityd": "random offset on grey values",
    "RandStdShiftIntensityd": "random offset, in standard deviations",
    "RandZoomd": "random zoom",
    "ScaleIntensityRanged": "given range of grey values to another, as a CT window",
    "ScaleIntensityRangePercentilesd": "percentiles of grey values to a range",
    "ScaleIntensityd": "grey values to a range, or times a factor",
    "ThresholdIntensityd": "replace grey values above or below a threshold",
}

OPTIMIZERS: Mapping[str, str] = {
    "SGD": "stochastic gradient descent with momentum",
    "Adam": "Adam (Kingma and Ba 2015)",
    "AdamW": "Adam with weight decay apart from the gradient (Loshchilov and Hutter 2019)",
}

ABOUT: Mapping[str, str] = {**NETWORKS, **LOSSES, **TRANSFORMS, **OPTIMIZERS}
"""Name of a part -> phrase; no two tables share a name."""
