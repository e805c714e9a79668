package ai.lram.backend.cpu;

import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.UnsupportedKernelException;
import ai.lram.backend.ops.MixedOps;
import ai.lram.backend.ops.NormSpec;

/** The CPU engine trains in fp32: its vector units are no faster in BF16. */
enum NoMixed implements MixedOps {
    INSTANCE;

    private static UnsupportedKernelException refusal(String kernel) {
        return new UnsupportedKernelException(
                "mixed." + kernel + " on the CPU engine",
                "it has no BF16 kernels for training",
                "train in fp32 (precision=fp32), or choose device=cuda");
    }

    @Override
    public boolean supported() {
        return false;
    }

    @Override
    public boolean normFits(int width) {
        return false;
    }

    @Override
    public boolean blockFits(int inner, int heads) {
        return false;
    }

    @Override
    public void narrow(Stream s, Tensor x, Tensor y) {
        throw refusal("narrow");
    }

    @Override
    public void widen(Stream s, Tensor x, Tensor y) {
        throw refusal("widen");
    }

    @Override
    public void add(Stream s, Tensor a, Tensor b, Tensor y) {
        throw refusal("add");
    }

    @Override
    public void linear(Stream s, Tensor x, Tensor w, Tensor bias, Tensor residual, Tensor y) {
        throw refusal("linear");
    }

    @Override
    public void linearBackwardInput(Stream s, Tensor dy, Tensor w, Tensor dx) {
        throw refusal("linearBackwardInput");
    }

    @Override
    public void linearBackwardWeight(Stream s, Tensor dy, Tensor x, Tensor dw) {
        throw refusal("linearBackwardWeight");
    }

    @Override
    public void addColumns(Stream s, Tensor x, Tensor sums) {
        throw refusal("addColumns");
    }

    @Override
    public void norm(
            Stream s, NormSpec spec, Tensor x, Tensor weight, Tensor bias, Tensor y, Tensor mean, Tensor rstd) {
        throw refusal("norm");
    }

    @Override
    public void normBackward(
            Stream s,
            NormSpec spec,
            Tensor dy,
            Tensor x,
            Tensor weight,
            Tensor mean,
            Tensor rstd,
            Tensor past,
            Tensor dx,
            Tensor narrow,
            Tensor dweight,
            Tensor dbias) {
        throw refusal("normBackward");
    }

    @Override
    public void convQkv(
            Stream s,
            Tensor uz,
            BlockWeights w,
            Tensor history,
            Tensor c,
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor i,
            Tensor f) {
        throw refusal("convQkv");
    }

    @Override
    public void convQkvBackward(
            Stream s,
            Tensor uz,
            BlockWeights w,
            Tensor history,
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor dq,
            Tensor dk,
            Tensor dv,
            Tensor di,
            Tensor df,
            Tensor dc,
            Tensor duz,
            BlockWeights dw) {
        throw refusal("convQkvBackward");
    }

    @Override
    public void carryHistory(Stream s, Tensor uz, Tensor history) {
        throw refusal("carryHistory");
    }

    @Override
    public void headGate(
            Stream s,
            NormSpec spec,
            Tensor h,
            Tensor c,
            Tensor uz,
            Tensor weight,
            Tensor skip,
            Tensor y,
            Tensor mean,
            Tensor rstd) {
        throw refusal("headGate");
    }

    @Override
    public void headGateBackward(
            Stream s,
            NormSpec spec,
            Tensor h,
            Tensor c,
            Tensor uz,
            Tensor weight,
            Tensor skip,
            Tensor mean,
            Tensor rstd,
            Tensor dy,
            Tensor dh,
            Tensor dc,
            Tensor duz,
            Tensor dweight,
            Tensor dskip) {
        throw refusal("headGateBackward");
    }

    @Override
    public void adamW(
            Stream s,
            Tensor hyper,
            Tensor sumSquares,
            boolean decay,
            Tensor param,
            Tensor grad,
            Tensor m,
            Tensor v,
            Tensor copy) {
        throw refusal("adamW");
    }
}
