package ai.lram.backend.cuda;

import ai.lram.backend.Tensor;
import ai.lram.backend.ops.NormSpec;
import ai.lram.backend.ops.StepWeight;
import ai.lram.backend.ops.TransformerBlockMemory;
import ai.lram.backend.ops.TransformerBlockWeights;
import ai.lram.backend.ops.TransformerLayer;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Transformer blocks of the control step for few sessions: {@code transformer_step.cu} around {@link AttentionSteps}, five launches a block. */
final class TransformerSteps {
    private static final String KERNEL = "attention.transformerBlocks";

    /** Tokens of all sessions: beyond, kernels that read weights for many rows at once are faster. */
    private static final int MOST_TOKENS = 12;

    /** Tokens whose sums over two rows of a weight a lane can hold. */
    private static final int FEW = 8;

    /** Rows of a weight beyond which there are warps enough. */
    private static final int MANY = 2048;

    private static final int MOST_WIDTH = 2048;
    private static final int MOST_INNER = 8192;

    private static final int WARPS = Engine.THREADS / 32;

    /** Elements of a row that a warp reads at once. */
    private static final int CHUNK = 256;

    /** Elements of a lane's. */
    private static final int EIGHT = 8;

    private static final int LINE = 128;

    private final Engine engine;
    private final Rows rows;
    private final AttentionSteps attention;
    private final boolean off;
    private final Map<Sizes, Form> forms = new HashMap<>();

    /** What the kernels are compiled for. */
    private record Sizes(int width, int inner, int tokens, int type, NormSpec norm) {
        /** Rows of q, k, v or up that a block has, as {@code OfNormed} in the source. */
        int normedTile(int rows) {
            return WARPS * (rows > MANY ? pair() : 1);
        }

        /** Rows of out or down that a block has, as {@code OfPlain} in the source. */
        int plainTile(int columns) {
            int chunks = (columns + CHUNK - 1) / CHUNK;
            return chunks >= 4 ? WARPS / 4 * pair() : chunks >= 2 ? WARPS / 2 : WARPS;
        }

        /** Rows of a weight that a warp takes at once. */
        private int pair() {
            return tokens <= FEW ? 2 : 1;
        }

        /** The normed tokens. */
        int sharedBytes() {
            return tokens * ((width + CHUNK - 1) / CHUNK) * CHUNK * Float.BYTES;
        }
    }

    private record Form(Kernel qkv, Kernel out, Kernel up, Kernel down) {}

    TransformerSteps(Engine engine, Rows rows, AttentionSteps attention) {
        this.engine = engine;
        this.rows = rows;
        this.attention = attention;
        off = StepForms.off();
    }

    /** What a kernel asks for at its end; each may be null. */
    static Engine.Launch fetch(Engine.Launch launch, StepWeight... next) {
        for (StepWeight w : next) {
            launch.put(w == null ? 0L : LargeWeights.data(w).address())
                    .put(w == null ? 0L : LargeWeights.data(w).bytes() / LINE);
        }
        return launch;
    }

    private static Sizes sizes(TransformerBlockWeights w, Tensor x) {
        return new Sizes(w.width(), w.inner(), x.dim(0) * x.dim(1), LargeWeights.type(w.q()), w.norm());
    }

    private Form form(Sizes sizes) {
        return forms.computeIfAbsent(sizes, z -> {
            KernelModule module = new KernelModule(
                    engine,
                    "transformer_step",
                    "BLOCK_WIDTH=" + z.width(),
                    "BLOCK_INNER=" + z.inner(),
                    "BLOCK_ROWS=" + z.tokens(),
                    "BLOCK_TYPE=" + z.type(),
                    KernelModule.define("BLOCK_CENTRED", z.norm().centred()),
                    KernelModule.define("BLOCK_RESIDUAL", z.norm().residualScale()));
            return new Form(
                    module.kernel("block_qkv", z.sharedBytes()),
                    module.kernel("block_out"),
                    module.kernel("block_up", z.sharedBytes()),
                    module.kernel("block_down"));
        });
    }

    /** Whether all of these blocks are taken; others are put together from plain kernels. */
    boolean take(List<TransformerLayer> layers, Tensor slots, Tensor counts, TransformerBlockMemory m, Tensor x) {
        if (off || layers.isEmpty() || x.rank() != 3 || x.size() == 0 || m.q().rank() != 4) {
            return false;
        }
        Sizes first = sizes(layers.getFirst().weights(), x);
        for (int l = 0; l < layers.size(); l++) {
            TransformerLayer layer = layers.get(l);
            TransformerBlockWeights w = layer.weights();
            if (!sizes(w, x).equals(first)
                    || !w.innerNorm().equals(w.norm())
                    || layer.keys().rank() != 4
                    || !takes(w, m, x)
                    || !attention.takes(call(layer, slots, counts, m))) {
                return false;
            }
        }
        return true;
    }

    private static AttentionSteps.Call call(
            TransformerLayer layer, Tensor slots, Tensor counts, TransformerBlockMemory m) {
        return new AttentionSteps.Call(
                slots, counts, m.q(), m.k(), m.v(), layer.keys(), layer.values(), layer.length(), m.attended());
    }

    private static boolean takes(TransformerBlockWeights w, TransformerBlockMemory m, Tensor x) {
        int type = LargeWeights.type(w.q());
        long all = w.normWeight().address() | w.innerNormWeight().address();
        for (StepWeight part : new StepWeight[] {w.q(), w.k(), w.v(), w.out(), w.up(), w.down()}) {
            if (LargeWeights.type(part) != type) {
                return false;
            }
            all |= LargeWeights.data(part).address();
        }
        for (Tensor t : new Tensor[] {w.normBias(), w.innerNormBias(), x, m.attended(), m.hidden()}) {
            all |= t == null ? 0 : t.address();
        }
        return (long) x.dim(0) * x.dim(1) <= MOST_TOKENS
                && w.norm().groups() == 1
                && w.width() <= MOST_WIDTH
                && w.inner() <= MOST_INNER
                && w.width() % EIGHT == 0
                && w.inner() % EIGHT == 0
                && all % 16 == 0;
    }

    /** {@link #take} must have said yes. */
    void run(List<TransformerLayer> layers, Tensor slots, Tensor counts, TransformerBlockMemory m, Tensor x) {
        for (int l = 0; l < layers.size(); l++) {
            check(layers.get(l), slots, counts, m, x);
        }
        Sizes z = sizes(layers.getFirst().weights(), x);
        Form form = form(z);
        rows.check(slots, counts, x.dim(0), pool(layers), x.dim(1));
        for (int l = 0; l < layers.size(); l++) {
            TransformerBlockWeights next =
                    l + 1 < layers.size() ? layers.get(l + 1).weights() : null;
            run(form, z, layers.get(l), next, slots, counts, m, x);
        }
    }

    /** Slots that every layer has. */
    private static int pool(List<TransformerLayer> layers) {
        int pool = Integer.MAX_VALUE;
        for (int l = 0; l < layers.size(); l++) {
            pool = Math.min(pool, layers.get(l).keys().dim(0));
        }
        return pool;
    }

    private static void check(TransformerLayer layer, Tensor slots, Tensor counts, TransformerBlockMemory m, Tensor x) {
        TransformerBlockWeights w = layer.weights();
        AttentionSteps.Call call = call(layer, slots, counts, m);
        int width = w.width();
        long all = (long) x.dim(0) * x.dim(1);
        Check.f32(KERNEL, "x", x, all * width);
        CudaAttention.check(KERNEL, call);
        if (call.rows() != x.dim(0) || call.tokens() != x.dim(1) || (long) call.heads() * call.dim() != width) {
            throw Check.mismatch(
                    KERNEL + ": working memory of q is " + m.q() + ", x is " + x,
                    "q is (B, L, NH, D/NH) for x (B, L, D)",
                    "use working memory of these blocks and rows");
        }
        Check.f32(KERNEL, "hidden", m.hidden(), all * w.inner());
        LargeWeights.check(KERNEL, w.q(), width, width);
        LargeWeights.check(KERNEL, w.k(), width, width);
        LargeWeights.check(KERNEL, w.v(), width, width);
        LargeWeights.check(KERNEL, w.out(), width, width);
        LargeWeights.check(KERNEL, w.up(), w.inner(), width);
        LargeWeights.check(KERNEL, w.down(), width, w.inner());
        Check.f32(KERNEL, "norm", w.normWeight(), width);
        Check.f32(KERNEL, "inner norm", w.innerNormWeight(), width);
        for (Tensor bias : new Tensor[] {
            w.normBias(), w.innerNormBias(), w.qBias(), w.kBias(), w.vBias(), w.outBias(), w.downBias()
        }) {
            Check.optional(KERNEL, "bias", bias, width);
        }
        Check.optional(KERNEL, "up's bias", w.upBias(), w.inner());
    }

    private void run(
            Form form,
            Sizes z,
            TransformerLayer layer,
            TransformerBlockWeights next,
            Tensor slots,
            Tensor counts,
            TransformerBlockMemory m,
            Tensor x) {
        TransformerBlockWeights w = layer.weights();
        Engine.Launch qkv = engine.launch(form.qkv());
        qkv.put(x).put(w.normWeight()).put(w.normBias());
        weights(qkv, w.q(), w.k(), w.v());
        qkv.put(w.qBias()).put(w.kBias()).put(w.vBias());
        qkv.put(m.q()).put(m.k()).put(m.v());
        fetch(qkv, w.out(), null, null).put(w.norm().eps());
        qkv.early(blocks(3 * z.width(), z.normedTile(3 * z.width())), 1, 1, Engine.THREADS, z.sharedBytes());

        attention.run(call(layer, slots, counts, m), w.up());

        Engine.Launch out = engine.launch(form.out());
        product(out, m.attended(), null, null, w.out(), w.outBias(), x);
        fetch(out, w.down(), null, null).put(w.norm().eps());
        out.put(slots)
                .put(counts)
                .put(layer.length())
                .put(x.dim(0))
                .put(layer.keys().dim(1))
                .faults();
        out.early(blocks(z.width(), z.plainTile(z.width())), 1, 1, Engine.THREADS, 0);

        Engine.Launch up = engine.launch(form.up());
        product(up, x, w.innerNormWeight(), w.innerNormBias(), w.up(), w.upBias(), m.hidden());
        fetch(up, next == null ? null : next.q(), next == null ? null : next.k(), next == null ? null : next.v());
        up.put(w.innerNorm().eps());
        up.early(blocks(z.inner(), z.normedTile(z.inner())), 1, 1, Engine.THREADS, z.sharedBytes());

        Engine.Launch down = engine.launch(form.down());
        product(down, m.hidden(), null, null, w.down(), w.downBias(), x);
        fetch(down, null, null, null).put(w.norm().eps());
        down.early(blocks(z.width(), z.plainTile(z.inner())), 1, 1, Engine.THREADS, 0);
    }

    private static long blocks(int rows, int tile) {
        return (rows + tile - 1) / tile;
    }

    private static void weights(Engine.Launch launch, StepWeight first, StepWeight second, StepWeight third) {
        StepWeight[] all = {first, second, third};
        for (StepWeight w : all) {
            launch.put(w == null ? null : LargeWeights.data(w));
        }
        for (StepWeight w : all) {
            launch.put(w == null ? null : LargeWeights.scale(w));
        }
    }

    /** The fields of a product with one weight, up to what is fetched. */
    private static void product(
            Engine.Launch launch,
            Tensor x,
            Tensor normWeight,
            Tensor normBias,
            StepWeight weight,
            Tensor bias,
            Tensor y) {
        launch.put(x).put(normWeight).put(normBias);
        weights(launch, weight, null, null);
        launch.put(bias).put(0L).put(0L);
        launch.put(y).put(0L).put(0L);
    }
}
