"""`[initialisation]`: the values of the parameters before training."""

from typing import Annotated, Literal

from pydantic import Field

from recurlm.config.section import Bias, Positive, Section


class XavierInitialisation(Section):
    """Uniform in ±sqrt(magnitude / fan_in), fan_in the columns of the matrix: `mx.init.Xavier(factor_type="in")`."""

    kind: Literal["xavier"] = Field("xavier", description="uniform, scaled by fan-in")
    magnitude: Positive = Field(2.34, description="variance factor; 2.34 is the seed document's value")
    forget_bias: Bias = Field(1.0, description="initial bias of the LSTM's forget gate")


class UniformInitialisation(Section):
    """Every parameter uniform in ±scale (Zaremba et al. 2014)."""

    kind: Literal["uniform"] = Field(
        "uniform",
        description="every parameter, biases too, uniform in ±scale; the gains of layer normalization alone are ones",
    )
    scale: Positive = Field(0.1, description="half the width of the interval")


class OrthogonalInitialisation(Section):
    """Recurrent matrices orthogonal gate by gate, input matrices scaled by fan-in, embeddings uniform."""

    kind: Literal["orthogonal"] = Field("orthogonal", description="orthogonal recurrent matrices (Saxe et al. 2014)")
    embedding_scale: Positive = Field(0.1, description="embeddings and decoder are uniform in ± this number")
    forget_bias: Bias = Field(1.0, description="initial bias of the LSTM's forget gate")


Initialisation = Annotated[
    XavierInitialisation | UniformInitialisation | OrthogonalInitialisation, Field(discriminator="kind")
]
