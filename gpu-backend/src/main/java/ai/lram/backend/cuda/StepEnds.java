package ai.lram.backend.cuda;

import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.EmbedMemory;
import ai.lram.backend.ops.EmbedWeights;
import ai.lram.backend.ops.HeadMemory;
import ai.lram.backend.ops.HeadWeights;
import ai.lram.backend.ops.NormSpec;
import ai.lram.backend.ops.StepChoice;
import ai.lram.backend.ops.StepInput;
import java.util.HashMap;
import java.util.Map;

/**
 * Launches {@code step_embed.cu} or, for many rows, {@code step_embed_many.cu}, and {@code step_head.cu}: what a control step does before and
 * after its blocks, a kernel each.
 */
final class StepEnds {
    private static final int THREADS = 512;

    /** Rows up to which blocks of the grid share a row, and rows of a group of the head's beyond. */
    private static final int FEW = 8;

    /** Rows beyond which products on tensor cores are faster. */
    private static final int MOST_ROWS = 1024;

    private static final int MOST_TOKENS = 4;
    /** Of a token's vector. */
    private static final int MOST_INPUTS = 2048;

    private static final int EMBED_WIDTH = 2048;
    /** A vector that one block takes, as in the source. */
    private static final int SHORT = 4;
    /** Rows up to which many blocks may ask the host's memory for the same. */
    private static final int FEW_ROWS = 2;

    /** Logits of a block, as in the source. */
    private static final int RUN = THREADS / 64;

    /** Rows of a block of {@code step_embed_many}. */
    private static final int EMBED_ROWS = 4;

    /** Floats of a row in such a block's shared memory: a vector and its channels; 60 more are left for padding. */
    private static final int EMBED_FLOATS = 2880;

    private static final int HEAD_WIDTH = 1280;
    /** Threads of a block of the head for many rows: a warp a row. */
    private static final int MANY_THREADS = 32 * FEW;

    /** Logits of such a block, as in the source. */
    private static final int MANY_RUN = 4 * FEW;

    private static final int MOST_DIMS = 256;
    /** Action dimensions of all groups of rows, whose blocks are counted. */
    private static final int MOST_COUNTS = 1 << 13;

    private final Engine engine;
    private final boolean off;
    private final long arrived;
    private final long arrivedDims;
    private final Kernel choose;
    private final Map<Embed, Kernel> embeds = new HashMap<>();
    private final Map<Embed, Kernel> embedsOfMany = new HashMap<>();
    private final Map<Head, Kernel> heads = new HashMap<>();

    /** What {@code step_embed} and {@code step_embed_many} are compiled for. */
    private record Embed(int tokens, int k0, int k1, int k2, int k3, int width, int lanes, NormSpec norm) {
        int inputs(int token) {
            return switch (token) {
                case 0 -> k0;
                case 1 -> k1;
                case 2 -> k2;
                default -> k3;
            };
        }

        /** Blocks of a row. */
        int pieces() {
            int channels = THREADS / lanes;
            int n = 0;
            for (int t = 0; t < tokens; t++) {
                n += inputs(t) <= SHORT ? 1 : (width + channels - 1) / channels;
            }
            return n;
        }
    }

    /** What {@code step_head} is compiled for; many rows are groups of {@link #FEW}. */
    private record Head(int rows, boolean many, int width, int logits, int dims, int type, NormSpec norm) {}

    StepEnds(Engine engine, KernelModule session) {
        this.engine = engine;
        off = StepForms.off();
        arrived = engine.lasting((long) Integer.BYTES * FEW * MOST_TOKENS);
        arrivedDims = engine.lasting((long) Integer.BYTES * MOST_COUNTS);
        choose = session.kernel("choose");
    }

    private static int inputs(EmbedWeights w, int token) {
        return token < w.tokens() ? w.encoders().get(token).weight().dim(1) : 0;
    }

    private static Embed sizes(EmbedWeights w, int rows) {
        return new Embed(
                w.tokens(),
                inputs(w, 0),
                inputs(w, 1),
                inputs(w, 2),
                inputs(w, 3),
                w.width(),
                rows <= FEW_ROWS ? 16 : 8,
                w.norm());
    }

    private static String[] defines(Embed z, String own) {
        return new String[] {
            "LRAM_THREADS=" + THREADS,
            "EMBED_WIDTH=" + z.width(),
            "EMBED_TOKENS=" + z.tokens(),
            "EMBED_INPUT_0=" + z.k0(),
            "EMBED_INPUT_1=" + z.k1(),
            "EMBED_INPUT_2=" + z.k2(),
            "EMBED_INPUT_3=" + z.k3(),
            own,
            KernelModule.define("EMBED_CENTRED", z.norm().centred()),
            KernelModule.define("EMBED_RESIDUAL", z.norm().residualScale())
        };
    }

    /** Compiles on the first use of a shape, as {@link BlockSteps} does. */
    private Kernel kernel(Embed sizes) {
        return embeds.computeIfAbsent(
                sizes, z -> new KernelModule(engine, "step_embed", defines(z, "EMBED_LANES=" + z.lanes()))
                        .kernel("step_embed"));
    }

    private Kernel kernelOfMany(Embed sizes) {
        return embedsOfMany.computeIfAbsent(
                sizes, z -> new KernelModule(engine, "step_embed_many", defines(z, "EMBED_ROWS=" + EMBED_ROWS))
                        .kernel("step_embed_many"));
    }

    private Kernel kernel(Head sizes) {
        return heads.computeIfAbsent(sizes, z -> new KernelModule(
                        engine,
                        "step_head",
                        "LRAM_THREADS=" + (z.many() ? MANY_THREADS : THREADS),
                        "HEAD_WIDTH=" + z.width(),
                        "HEAD_ROWS=" + z.rows(),
                        KernelModule.define("HEAD_MANY", z.many()),
                        "HEAD_LOGITS=" + z.logits(),
                        "HEAD_DIMS=" + z.dims(),
                        "HEAD_TYPE=" + z.type(),
                        KernelModule.define("HEAD_CENTRED", z.norm().centred()),
                        KernelModule.define("HEAD_RESIDUAL", z.norm().residualScale()))
                .kernel("step_head"));
    }

    /** Whether the kernel takes these sizes; the others are put together from plain kernels. */
    boolean takes(EmbedWeights w, StepInput from, Tensor x) {
        if (off || from.rows() < 1 || from.rows() > MOST_ROWS || w.tokens() > MOST_TOKENS || w.width() > EMBED_WIDTH) {
            return false;
        }
        for (int t = 0; t < w.tokens(); t++) {
            Tensor weight = w.encoders().get(t).weight();
            int k = weight.dim(1);
            // Four at once; a view may begin anywhere.
            if (k < 1
                    || k > MOST_INPUTS
                    || k % 4 == 0 && weight.address() % 16 != 0
                    || from.rows() > FEW && k + w.width() > EMBED_FLOATS) {
                return false;
            }
        }
        return true;
    }

    /** One launch; {@link #takes(EmbedWeights, StepInput, Tensor)} must have said yes. */
    void embed(EmbedWeights w, StepInput from, StepInput at, EmbedMemory m, Tensor x) {
        String kernel = "session.embed";
        int rows = from.rows();
        int tokens = w.tokens();
        long all = (long) rows * tokens * w.width();
        if (from.vectors().size() != tokens) {
            throw Check.mismatch(
                    kernel + ": the input has " + from.vectors().size() + " vectors a row",
                    "there are layers for " + tokens + " tokens",
                    "give each token a vector and its layer");
        }
        for (int t = 0; t < tokens; t++) {
            EmbedWeights.Encoder e = w.encoders().get(t);
            int k = e.weight().dim(1);
            Check.f32(kernel, "a token's vectors", from.vectors().get(t), (long) rows * k);
            Check.f32(kernel, "a token's weight", e.weight(), (long) w.width() * k);
            Check.f32(kernel, "a token's bias", e.bias(), w.width());
        }
        for (StepInput in : new StepInput[] {from, at}) {
            Check.size(kernel, "slots", in.slots(), DType.I32, rows);
            Check.size(kernel, "counts", in.counts(), DType.I32, rows);
        }
        Check.f32(kernel, "norm", w.normWeight(), w.width());
        Check.optional(kernel, "norm's bias", w.normBias(), w.width());
        Check.f32(kernel, "working memory", m.joined(), all);
        Check.f32(kernel, "x", x, all);
        boolean many = rows > FEW;
        Embed z = sizes(w, rows);
        Engine.Launch launch = engine.launch(many ? kernelOfMany(z) : kernel(z));
        for (int t = 0; t < tokens; t++) {
            EmbedWeights.Encoder e = w.encoders().get(t);
            launch.put(from.vectors().get(t)).put(e.weight()).put(e.bias());
        }
        boolean moves = from.slots().address() != at.slots().address()
                || from.counts().address() != at.counts().address();
        launch.put(w.normWeight()).put(w.normBias()).put(x);
        if (!many) {
            launch.put(m.joined());
        }
        launch.put(from.slots())
                .put(from.counts())
                .put(moves ? at.slots() : null)
                .put(moves ? at.counts() : null);
        if (many) {
            launch.put(rows).put(w.norm().eps()).run((rows + EMBED_ROWS - 1) / EMBED_ROWS, tokens, 1, THREADS, 0);
        } else {
            launch.put(arrived).put(w.norm().eps()).run(z.pieces(), rows, 1, THREADS, 0);
        }
    }

    /** As {@link #takes(EmbedWeights, StepInput, Tensor)}. */
    boolean takes(HeadWeights w, HeadMemory m, StepChoice c) {
        int rows = m.x().dim(0);
        return !off
                && rows >= 1
                && rows <= MOST_ROWS
                && c.dims() <= MOST_DIMS
                && (long) c.dims() * groups(rows) <= MOST_COUNTS
                && w.width() % 4 == 0
                && w.width() <= HEAD_WIDTH
                && (m.x().address()
                                        | w.normWeight().address()
                                        | (w.normBias() == null
                                                ? 0
                                                : w.normBias().address())
                                        | LargeWeights.data(w.weight()).address())
                                % 16
                        == 0;
    }

    private static int groups(int rows) {
        return (rows + FEW - 1) / FEW;
    }

    /** Before anything is queued. */
    void check(HeadWeights w, HeadMemory m, StepChoice c) {
        String kernel = "session.decide";
        int rows = c.rows();
        if (m.x().dim(0) != rows || (long) c.dims() * c.logits() != w.logits()) {
            throw Check.mismatch(
                    kernel + ": " + c.dims() + " dimensions of " + c.logits() + " logits for " + rows + " rows",
                    "the head has " + w.logits() + " logits for " + m.x().dim(0) + " rows",
                    "make the choice for this head and batch");
        }
        int width = w.width();
        Check.f32(kernel, "x", m.x(), (long) rows * m.x().dim(1) * width);
        LargeWeights.check(kernel, w.weight(), w.logits(), width);
        Check.optional(kernel, "bias", w.bias(), w.logits());
        Check.f32(kernel, "norm", w.normWeight(), width);
        Check.optional(kernel, "norm's bias", w.normBias(), width);
        Check.f32(kernel, "logits", m.logits(), (long) rows * w.logits());
        Check.size(kernel, "slots", c.slots(), DType.I32, rows);
        Check.size(kernel, "ranges", c.ranges(), DType.I32, 2L * c.pool());
        Check.f32(kernel, "values", c.values(), c.logits());
        Check.size(kernel, "chosen", c.chosen(), DType.I32, (long) rows * c.dims());
        Check.f32(kernel, "numbers", c.numbers(), (long) rows * c.dims());
    }

    /** One launch; {@link #check} has been asked and {@link #takes(HeadWeights, HeadMemory, StepChoice)} has said yes. */
    void decide(HeadWeights w, HeadMemory m, StepChoice c) {
        Tensor x = m.x();
        int width = w.width();
        int rows = x.dim(0);
        boolean many = rows > FEW;
        Head sizes = new Head(
                Math.min(rows, FEW), many, width, w.logits(), c.dims(), LargeWeights.type(w.weight()), w.norm());
        Engine.Launch launch = engine.launch(kernel(sizes))
                .put(x.address() + (long) Float.BYTES * m.token() * width)
                .put(w.normWeight())
                .put(w.normBias())
                .put(LargeWeights.data(w.weight()))
                .put(LargeWeights.scale(w.weight()))
                .put(w.bias())
                .put(m.logits())
                .put(x.dim(1) * width)
                .put(w.norm().eps())
                .put(arrivedDims);
        int run = many ? MANY_RUN : RUN;
        put(launch, c)
                .decided()
                .put(rows)
                .early((c.logits() + run - 1) / run, c.dims(), groups(rows), many ? MANY_THREADS : THREADS, 0);
    }

    /** The choice alone, a launch; {@link #check} has been asked. */
    void choose(Tensor logits, StepChoice c) {
        if (c.rows() > 0) {
            Engine.Launch launch =
                    engine.launch(choose).put(logits).put(c.logits()).put(c.dims());
            put(launch, c).run((long) c.dims() * c.rows(), 1, 1, Engine.THREADS, 0);
        }
    }

    private static Engine.Launch put(Engine.Launch launch, StepChoice c) {
        return launch.put(c.slots())
                .put(c.ranges())
                .put(c.values())
                .put(c.chosen())
                .put(c.numbers())
                .faults()
                .put(c.pool())
                .put(c.mean());
    }
}
