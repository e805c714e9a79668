package ai.lram.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import ai.lram.backend.contract.KernelContract;
import ai.lram.backend.ops.Activation;
import ai.lram.backend.ops.NormSpec;
import ai.lram.backend.ops.PackedWeight;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * What the kernels of a control step answer to a row does not depend on its place among others, to the bit. Widths leave a rest of vectors
 * of 4, 8 and 16 lanes.
 */
class CpuRowOrderTest extends KernelContract {
    @Override
    protected Backend openBackend() {
        return new CpuBackend(BackendOptions.threads(2));
    }

    /** Of inputs of a number of rows. */
    private interface Kernel {
        Tensor[] run(Tensor... rows);
    }

    private void assertOrderChangesNoBit(String name, int rows, int width, int inputs, Kernel kernel) {
        float[][] x = new float[inputs][];
        Arrays.setAll(x, i -> fx.normal(rows * width, 1));
        List<Integer> order = new ArrayList<>(IntStream.range(0, rows).boxed().toList());
        Collections.shuffle(order, fx.random);
        Tensor[] plain = new Tensor[inputs];
        Tensor[] permuted = new Tensor[inputs];
        for (int i = 0; i < inputs; i++) {
            plain[i] = fx.of(x[i], rows, width);
            permuted[i] = fx.of(permuted(x[i], order, width), rows, width);
        }
        Tensor[] want = kernel.run(plain);
        Tensor[] got = kernel.run(permuted);
        for (int i = 0; i < want.length; i++) {
            int n = Math.toIntExact(want[i].size() / rows);
            assertArrayEquals(
                    permuted(fx.read(want[i]), order, n),
                    fx.read(got[i]),
                    name + ", output " + i + ", order " + order + ", seed " + fx.seed);
        }
    }

    private static float[] permuted(float[] x, List<Integer> order, int width) {
        float[] y = new float[x.length];
        for (int r = 0; r < order.size(); r++) {
            System.arraycopy(x, order.get(r) * width, y, r * width, width);
        }
        return y;
    }

    @ParameterizedTest(name = "rows={0}")
    @ValueSource(ints = {2, 4, 7, 9, 17, 31, 33, 75, 101, 390})
    void products(int rows) {
        int k = 61;
        int n = 37;
        Tensor w = fx.of(fx.normal(n * k, 0.2), n, k);
        Tensor bias = fx.of(fx.normal(n, 1), n);
        for (Activation act : Activation.values()) {
            assertOrderChangesNoBit("linear with " + act, rows, k, 1, x -> {
                Tensor y = fx.poisoned(rows, n);
                fx.ops.matmul().linear(fx.stream, x[0], w, bias, act, y);
                return new Tensor[] {y};
            });
        }
        for (DType type : new DType[] {DType.F32, DType.BF16, DType.I8}) {
            PackedWeight packed = PackedWeight.allocate(fx.arena, type, n, k);
            fx.ops.matmul().pack(fx.stream, w, packed);
            assertOrderChangesNoBit("linear packed in " + type, rows, k, 1, x -> {
                Tensor y = fx.poisoned(rows, n);
                fx.ops.matmul().linearPacked(fx.stream, x[0], packed, bias, Activation.GELU, y);
                return new Tensor[] {y};
            });
        }
    }

    @ParameterizedTest(name = "rows={0}")
    @ValueSource(ints = {2, 4, 7, 9, 17, 31, 33, 75})
    void blockDiagonalProducts(int rows) {
        for (int block : new int[] {4, 5}) {
            int groups = 23;
            int width = groups * block;
            Tensor w = fx.of(fx.normal(width * block, 0.5), groups, block, block);
            for (Tensor bias : new Tensor[] {null, fx.of(fx.normal(width, 1), width)}) {
                assertOrderChangesNoBit("blocks of " + block, rows, width, 1, x -> {
                    Tensor y = fx.poisoned(rows, width);
                    fx.ops.matmul().headwise(fx.stream, x[0], w, bias, y);
                    return new Tensor[] {y};
                });
            }
        }
    }

    @ParameterizedTest(name = "rows={0}")
    @ValueSource(ints = {2, 4, 7, 9, 17, 33})
    void gates(int rows) {
        for (int heads : new int[] {1, 2, 3}) {
            int width = 45 * heads;
            Tensor[] w = {
                fx.of(fx.normal(heads * 3 * width, 0.2), heads, 3 * width),
                fx.of(fx.normal(heads, 1), heads),
                fx.of(fx.normal(heads * 3 * width, 0.2), heads, 3 * width),
                fx.of(fx.normal(heads, 1), heads)
            };
            assertOrderChangesNoBit("gates of " + heads, rows, width, 3, x -> {
                Tensor i = fx.poisoned(rows, heads);
                Tensor f = fx.poisoned(rows, heads);
                fx.ops.mlstm().gates(fx.stream, x[0], x[1], x[2], w[0], w[1], w[2], w[3], i, f);
                return new Tensor[] {i, f};
            });
        }
    }

    @ParameterizedTest(name = "rows={0}")
    @ValueSource(ints = {2, 5, 9})
    void pointwiseKernels(int rows) {
        int width = 45;
        Tensor skip = fx.of(fx.normal(width, 1), width);
        for (Activation act : Activation.values()) {
            assertOrderChangesNoBit("activation " + act, rows, width, 1, x -> {
                Tensor y = fx.poisoned(rows, width);
                fx.ops.elementwise().activation(fx.stream, act, x[0], y);
                return new Tensor[] {y};
            });
            assertOrderChangesNoBit("derivative of " + act, rows, width, 2, x -> {
                Tensor dx = fx.poisoned(rows, width);
                fx.ops.elementwise().activationBackward(fx.stream, act, x[0], x[1], dx);
                return new Tensor[] {dx};
            });
            assertOrderChangesNoBit("gate " + act, rows, width, 2, x -> {
                Tensor y = fx.poisoned(rows, width);
                fx.ops.elementwise().gate(fx.stream, act, x[0], x[1], y);
                return new Tensor[] {y};
            });
            assertOrderChangesNoBit("derivatives of gate " + act, rows, width, 3, x -> {
                Tensor dg = fx.poisoned(rows, width);
                Tensor du = fx.poisoned(rows, width);
                fx.ops.elementwise().gateBackward(fx.stream, act, x[0], x[1], x[2], dg, du);
                return new Tensor[] {dg, du};
            });
        }
        assertOrderChangesNoBit("skip gate", rows, width, 3, x -> {
            Tensor y = fx.poisoned(rows, width);
            fx.ops.elementwise().skipGate(fx.stream, x[0], skip, x[1], x[2], y);
            return new Tensor[] {y};
        });
        assertOrderChangesNoBit("soft cap", rows, width, 1, x -> {
            Tensor y = fx.poisoned(rows, width);
            fx.ops.elementwise().softCap(fx.stream, 3, x[0], y);
            return new Tensor[] {y};
        });
        assertOrderChangesNoBit("norm", rows, width, 1, x -> {
            Tensor y = fx.poisoned(rows, width);
            fx.ops.norm().forward(fx.stream, new NormSpec(3, 1e-5f, true, true), x[0], skip, skip, y, null, null);
            return new Tensor[] {y};
        });
    }
}
