"""What submissions call things: names of functions, arguments and values, in our own words."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any


class Misfit(ValueError):
    """What a submission gives has not the form that the check needs. The message is one line of ours."""


class Unclear(Exception):
    """A convention that the numbers do not show. The message is one line that says what CHECK has to name."""


def plain(name: str) -> str:
    """Lower case, without anything but letters and digits."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _names(text: str) -> frozenset[str]:
    return frozenset(plain(word) for word in text.split())


# our name -> theirs
FUNCTIONS = {
    name: _names(f"{name} {others}")
    for name, others in {
        "forward": "forward_pass forward_propagation forward_prop feedforward feed_forward compute_logits logits",
        "gradients": "gradient grad grads backward backward_pass backprop backpropagation backward_propagation "
        "back_propagation compute_gradients compute_grads get_gradients backward_prop",
        "update": "update_weights update_params update_parameters step optimizer_step apply_update optimizer_update",
        "sgd": "gd gradient_descent vanilla_sgd stochastic_gradient_descent",
        "momentum": "sgd_momentum mgd momentum_gd heavy_ball sgd_with_momentum momentum_sgd",
        "nesterov": "nag nesterov_momentum nesterov_accelerated_gradient nesterov_gd nesterov_sgd",
        "rmsprop": "rms_prop",
        "adam": "",
        "nadam": "",
        "sigmoid": "logistic",
        "tanh": "",
        "relu": "",
        "leaky_relu": "",
        "identity": "linear",
        "softmax": "",
        "cross_entropy": "cross_entropy_loss categorical_cross_entropy crossentropy ce ce_loss softmax_cross_entropy "
        "categorical_cross_entropy_loss crossentropyloss compute_cross_entropy nll cross_entropy_with_logits",
        "mse": "mse_loss mean_squared_error mean_square_error squared_error squared_loss mean_squared_error_loss "
        "mean_squared_loss l2_loss",
        "xavier": "xavier_init init_xavier glorot glorot_uniform xavier_uniform xavier_initialization "
        "initialize_xavier xavier_initializer glorot_init",
        "he": "he_init init_he kaiming he_normal he_initialization initialize_he kaiming_init",
        "random": "random_init init_random random_initialization initialize_random random_normal",
        "dropout": "apply_dropout dropout_forward",
        "split": "train_val_split train_validation_split split_data train_valid_split split_train_val val_split",
        "accuracy": "compute_accuracy accuracy_score calculate_accuracy",
        "confusion_matrix": "compute_confusion_matrix",
        "precision": "precision_score compute_precision",
        "recall": "recall_score compute_recall",
        "f1": "f1_score compute_f1 f1score",
    }.items()
}
OPTIMIZERS = ("sgd", "momentum", "nesterov", "rmsprop", "adam", "nadam")
_AFFIX = re.compile(r"^(?:update|apply|do|run)|(?:update|step|optimizer|optimiser)$")
DERIVATIVE = re.compile(
    r"^(?:d|grad|derivative|deriv|der)(?:of)?|(?:derivative|deriv|prime|grad|gradient|der|backward)$"
)

# role -> names of an argument
ARGUMENTS = {
    role: _names(f"{role} {others}")
    for role, others in {
        "params": "parameters weights_and_biases model network net theta layers weights ws w w_list weight",
        "biases": "bs b b_list bias",
        "x": "inputs input x_batch xb data features images batch x_train h0 a0 input_data",
        "y": "labels label targets target y_true y_batch yb t y_onehot y_train true one_hot truth ytrue gt actual",
        "logits": "z y_pred yhat y_hat pred preds predictions output outputs scores prediction ypred o out",
        "cache": "caches cached memory intermediates",
        "activation": "act activation_function activation_name hidden_activation nonlinearity activation_fn act_fn",
        "loss": "loss_name loss_function loss_type objective criterion loss_fn",
        "decay": "weight_decay lam lambda_ lambd lmbda reg l2 wd l2_lambda regularization l2_reg reg_lambda",
        "w": "weight param theta value weights params parameters p layer_weights variable var x",
        "g": "grad grads gradient gradients dw dparams derivative",
        "state": "optimizer_state opt_state memory cache_state",
        "step": "t iteration iter timestep time_step step_count count num_updates k n_updates global_step",
        "optimizer": "method optimizer_name optimiser opt algorithm name kind",
        "learning_rate": "lr eta alpha learningrate rate step_size",
        "momentum_number": "mu momentum gamma beta rho mom",
        "beta": "rho decay_rate gamma decay alpha_decay",
        "beta1": "b1",
        "beta2": "b2",
        "eps": "epsilon e",
        "moment": "u v m s velocity cache vel prev_update n v_w vw mw sw m_t v_t first_moment second_moment vt mt nu "
        "history accumulator prev_velocity exp_avg",
        "inputs": "n_in fan_in in_dim input_size in_features nin rows input_dim d_in in_size",
        "outputs": "n_out fan_out out_dim output_size out_features nout cols output_dim d_out out_size",
        "shape": "size dims",
        "rate": "p r dropout_rate drop_rate drop_prob prob",
        "keep": "keep_prob keep_rate keep_probability",
        "training": "train is_training mode",
        "fraction": "val_fraction val_size val_ratio validation_split val_split test_size split ratio",
        "seed": "random_state rng_seed random_seed",
        "network": "nn model net layers mlp",
        "confusion": "cm confusion_matrix matrix",
        "classes": "num_classes n_classes k output_size",
    }.items()
}

ACTIVATION_SPELLINGS = {
    "sigmoid": ("sigmoid", "Sigmoid", "logistic"),
    "tanh": ("tanh", "Tanh"),
    "relu": ("relu", "ReLU"),
    "identity": ("identity", "linear"),
    "leaky_relu": ("leaky_relu",),
}
LOSS_SPELLINGS = {
    "cross_entropy": ("cross_entropy", "crossentropy", "ce", "categorical_crossentropy"),
    "mse": ("mse", "mean_squared_error", "squared_error", "mean_square"),
}
OPTIMIZER_SPELLINGS = {
    "sgd": ("sgd",),
    "momentum": ("momentum", "mgd"),
    "nesterov": ("nag", "nesterov"),
    "rmsprop": ("rmsprop", "RMSprop", "RMSProp"),
    "adam": ("adam", "Adam"),
    "nadam": ("nadam", "Nadam"),
}


def function_of(name: str) -> str | None:
    """Our name of what a function or class is called, if it has a usual name; none of what begins with _."""
    word = plain(name)
    if name.startswith("_"):
        return None
    for ours, theirs in FUNCTIONS.items():
        if word in theirs:
            return ours
    bare = _AFFIX.sub("", word)
    for ours in OPTIMIZERS:
        if bare != word and bare in FUNCTIONS[ours]:
            return ours
    return None


def derivative_of(name: str) -> str | None:
    """Our name of the activation or loss whose derivative a function is by its name: sigmoid_prime, d_relu."""
    word = plain(name)
    bare = DERIVATIVE.sub("", word)
    if bare == word or name.startswith("_"):
        return None
    found = function_of(bare)
    return found if found in (*ACTIVATION_SPELLINGS, "softmax", *LOSS_SPELLINGS) else None


def parameters_of(fn: Callable[..., Any]) -> list[inspect.Parameter]:
    """The named parameters of a function; none where Python cannot tell."""
    try:
        given = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [parameter for parameter in given if parameter.kind in kinds]


def roles_of(fn: Callable[..., Any], among: Sequence[str], order: Sequence[str] = ()) -> dict[str, str]:
    """Role -> the function's own name of that argument, for the roles in `among`; our own names win over looser ones.

    `order`, from CHECK, names the roles of the positional arguments outright.
    """
    parameters, roles = parameters_of(fn), {}
    taken: set[str] = set()
    for role, parameter in zip(order, parameters, strict=False):
        roles[role] = parameter.name
        taken.add(parameter.name)
    for exact in (True, False):
        for parameter in parameters:
            if parameter.name in taken:
                continue
            word = plain(parameter.name)
            for role in among:
                if role not in roles and (word == plain(role) if exact else word in ARGUMENTS[role]):
                    roles[role] = parameter.name
                    taken.add(parameter.name)
                    break
    return roles


def call(fn: Callable[..., Any], roles: Mapping[str, str], values: Mapping[str, Any], what: str) -> Any:
    """Calls a function with the values of the roles that it has; Unclear where it needs something else."""
    given = {roles[role]: value for role, value in values.items() if role in roles}
    positional, keywords = [], {}
    for parameter in parameters_of(fn):
        if parameter.name in given:
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                positional.append(given[parameter.name])
            else:
                keywords[parameter.name] = given[parameter.name]
        elif parameter.default is inspect.Parameter.empty:
            raise Unclear(
                f'what {parameter.name!r} is, of {what}; say CHECK = {{{what!r}: "name({", ".join(values)})"}} '
                "with our words in the order of its arguments"
            )
    return fn(*positional, **keywords)
