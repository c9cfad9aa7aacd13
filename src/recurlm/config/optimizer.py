"""`[optimizer]`: how a gradient changes the weights."""

from typing import Annotated, Literal

from pydantic import Field

from recurlm.config.section import NotNegative, Positive, Probability, Section


class SGD(Section):
    """Stochastic gradient descent: m ← μm + g + wd·w, w ← w − lr·m. With `average.kind` non-monotone: NT-ASGD."""

    kind: Literal["sgd"] = Field("sgd", description="stochastic gradient descent")
    learning_rate: Positive = Field(1.0, description="highest learning rate lr")
    momentum: Probability = Field(0.0, description="momentum μ")
    weight_decay: NotNegative = Field(0.0, description="wd: L2 as part of the gradient, on matrices only")


class Adam(Section):
    """Adam (Kingma and Ba 2015), or AdamW with decoupled weight decay (Loshchilov and Hutter 2019)."""

    kind: Literal["adam", "adamw"] = Field("adamw", description="Adam, or AdamW with decoupled weight decay")
    learning_rate: Positive = Field(0.003, description="highest learning rate lr")
    beta1: Probability = Field(
        0.9, description="decay of the mean of gradients; 0 gives RMSProp with bias correction (Melis et al. 2018)"
    )
    beta2: Probability = Field(0.999, description="decay of the mean of squared gradients")
    epsilon: Positive = Field(1e-8, description="added to the root of the mean square")
    weight_decay: NotNegative = Field(
        0.0,
        description="wd, on matrices only; adam: L2, wd·w joins the gradient and is scaled with it; "
        "adamw: decoupled, w ← w − lr·wd·w in addition",
    )


class RMSProp(Section):
    """RMSProp (Tieleman and Hinton 2012) without bias correction. `adam` with beta1 = 0 corrects the bias."""

    kind: Literal["rmsprop"] = Field("rmsprop", description="gradient divided by its running root mean square")
    learning_rate: Positive = Field(0.001, description="highest learning rate lr")
    alpha: Probability = Field(0.99, description="decay of the mean of squared gradients")
    momentum: Probability = Field(0.0, description="momentum on the scaled step")
    epsilon: Positive = Field(1e-8, description="added to the root of the mean square")
    weight_decay: NotNegative = Field(0.0, description="wd: L2 as part of the gradient, on matrices only")


class Muon(Section):
    """Muon for the matrices of recurrent layers, AdamW for embeddings, softmax and biases (Jordan et al. 2024).

    m ← μm + (1 − μ)g; w ← w − lr·0.2·sqrt(max(rows, columns))·orthogonalized(g + μ(m − g)). The steps are as large as
    AdamW's, so one learning rate serves both (Liu et al. 2025).
    """

    kind: Literal["muon"] = Field(
        "muon", description="orthogonalized momentum for recurrent layers, AdamW for all other parameters"
    )
    learning_rate: Positive = Field(0.003, description="highest learning rate lr")
    momentum: Probability = Field(0.95, description="Muon's momentum μ")
    beta1: Probability = Field(0.9, description="AdamW's decay of the mean of gradients")
    beta2: Probability = Field(0.999, description="AdamW's decay of the mean of squared gradients")
    epsilon: Positive = Field(1e-8, description="AdamW adds this to the root of the mean square")
    weight_decay: NotNegative = Field(0.0, description="decoupled weight decay, on matrices only")


Optimizer = Annotated[SGD | Adam | RMSProp | Muon, Field(discriminator="kind")]
