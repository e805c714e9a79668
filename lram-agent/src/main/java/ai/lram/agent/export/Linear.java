package ai.lram.agent.export;

import ai.lram.agent.autodiff.Parameter;
import ai.lram.agent.autodiff.ParameterSet;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Supplier;
import java.util.stream.Collectors;

/** Products with weight matrices, which lie (out, in) in the model and (in, out) in the file. */
final class Linear {
    /**
     * Of a weight, either side of zero: two products with an unsigned byte fit 16 bits then, in which x86 processors without VNNI add them,
     * and answers are alike on all.
     */
    private static final int LEVELS = 64;

    private final GraphBuilder g;
    private final ParameterSet parameters;
    private final OnnxOptions.Weights format;

    Linear(GraphBuilder g, ParameterSet parameters, OnnxOptions.Weights format) {
        this.g = g;
        this.parameters = parameters;
        this.format = format;
    }

    /** Values of a parameter, read when they are written. */
    Supplier<float[]> values(Parameter p) {
        return () -> parameters.read(p.value());
    }

    /** A parameter of one dimension. */
    String vector(Parameter p) {
        return g.weight(p.name(), values(p), p.size());
    }

    /** The effective scale 1 + w of a norm of the original blocks. */
    String residualScale(Parameter p) {
        return g.weight(
                p.name() + ".plus_one",
                () -> {
                    float[] a = parameters.read(p.value());
                    for (int i = 0; i < a.length; i++) {
                        a[i] += 1;
                    }
                    return a;
                },
                p.size());
    }

    /** The first {@code in} columns of a matrix (out, columns) as (in, out), fp32. */
    String matrix(Parameter p, int in) {
        return g.weight(p.name(), transposed(p, in), in, p.dim(0));
    }

    private Supplier<float[]> transposed(Parameter p, int in) {
        int out = p.dim(0);
        int columns = p.size() / out;
        return () -> {
            float[] w = parameters.read(p.value());
            float[] t = new float[in * out];
            for (int o = 0; o < out; o++) {
                for (int i = 0; i < in; i++) {
                    t[i * out + o] = w[o * columns + i];
                }
            }
            return t;
        };
    }

    /** x[..., in] w^T in the format asked for. */
    String large(String x, Parameter w) {
        int in = w.dim(1);
        int out = w.dim(0);
        if (format == OnnxOptions.Weights.FP32) {
            return g.matMul(x, matrix(w, in));
        }
        String bytes = g.weightBytes(w.name() + ".int8", () -> quantized(w), in, out);
        String scales = g.weight(w.name() + ".scale", () -> scales(parameters.read(w.value()), in), out);
        List<String> q = g.quantize(x);
        String sums = g.toFloat(g.op("MatMulInteger", q.get(0), bytes, q.get(2)));
        return g.mul(sums, g.mul(q.get(1), scales));
    }

    /** Per output, the largest weight's share of a level; 1 for an output whose weights are all zero. */
    private static float[] scales(float[] w, int in) {
        float[] s = new float[w.length / in];
        for (int o = 0; o < s.length; o++) {
            float largest = 0;
            for (int i = 0; i < in; i++) {
                largest = Math.max(largest, Math.abs(w[o * in + i]));
            }
            s[o] = largest == 0 ? 1 : largest / LEVELS;
        }
        return s;
    }

    private byte[] quantized(Parameter p) {
        int in = p.dim(1);
        int out = p.dim(0);
        float[] w = parameters.read(p.value());
        float[] s = scales(w, in);
        byte[] t = new byte[w.length];
        for (int o = 0; o < out; o++) {
            for (int i = 0; i < in; i++) {
                t[i * out + o] = (byte) Math.clamp(Math.round(w[o * in + i] / s[o]), -LEVELS, LEVELS);
            }
        }
        return t;
    }

    /** Block-diagonal maps, (G, size, size) each, of one x. */
    record Diagonal(String x, List<Parameter> maps) {}

    /**
     * The results of block-diagonal maps side by side, (B, L, maps * G * size). Position within the block goes before the block for it, so
     * that a few long products do in place of many short ones.
     */
    String blockDiagonal(List<Diagonal> all) {
        Parameter first = all.getFirst().maps().getFirst();
        int groups = first.dim(0);
        int size = first.dim(1);
        List<String> products = new ArrayList<>();
        int maps = 0;
        for (Diagonal d : all) {
            int n = d.maps().size();
            String turned = g.transpose(g.reshape(d.x(), 0, -1, groups, 1, size), 0, 1, 3, 4, 2);
            String w = g.weight(
                    d.maps().stream().map(Parameter::name).collect(Collectors.joining("+")),
                    () -> turned(d.maps(), groups, size),
                    (long) n * size,
                    size,
                    groups);
            products.add(g.sum(g.mul(turned, w), 3, false));
            maps += n;
        }
        String apart = g.reshape(g.concat(2, products), 0, -1, maps, size, groups);
        return g.reshape(g.transpose(apart, 0, 1, 2, 4, 3), 0, -1, (long) maps * groups * size);
    }

    /** (maps, out, in, G) of maps (G, out, in). */
    private float[] turned(List<Parameter> maps, int groups, int size) {
        float[] t = new float[maps.size() * size * size * groups];
        for (int m = 0; m < maps.size(); m++) {
            float[] w = parameters.read(maps.get(m).value());
            for (int i = 0; i < w.length; i++) {
                t[(m * size * size + i % (size * size)) * groups + i / (size * size)] = w[i];
            }
        }
        return t;
    }

    /** Maps of whole heads, (NH, DH, DH) each, side by side as (NH, in, maps * out). */
    String headMaps(String name, List<Parameter> maps) {
        int heads = maps.getFirst().dim(0);
        int dh = maps.getFirst().dim(1);
        int n = maps.size();
        return g.weight(
                name,
                () -> {
                    float[] t = new float[heads * dh * n * dh];
                    for (int m = 0; m < n; m++) {
                        float[] w = parameters.read(maps.get(m).value());
                        for (int h = 0; h < heads; h++) {
                            for (int o = 0; o < dh; o++) {
                                for (int i = 0; i < dh; i++) {
                                    t[((h * dh + i) * n + m) * dh + o] = w[(h * dh + o) * dh + i];
                                }
                            }
                        }
                    }
                    return t;
                },
                heads,
                dh,
                (long) n * dh);
    }
}
