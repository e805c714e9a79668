package ai.lram.bench.train;

import ai.lram.agent.autodiff.Parameter;
import ai.lram.agent.autodiff.Profile;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.train.TrainConfig;
import ai.lram.agent.train.Trainer;
import ai.lram.agent.train.TrainingMetrics;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.backend.cpu.BlasGemm;
import ai.lram.bench.BenchException;
import ai.lram.bench.Benchmark;
import ai.lram.bench.Better;
import ai.lram.bench.Memory;
import ai.lram.bench.Result;
import ai.lram.bench.Run;
import ai.lram.bench.TemporaryFolder;
import ai.lram.bench.WrongAnswerException;
import ai.lram.bench.subject.ModelSize;
import ai.lram.dataset.store.TrajectoryStore;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.IntStream;

/**
 * Training updates on made-up data. The model sizes train on Meta-World's shapes, 39 numbers in and 4 out; {@link #G1} is the shape of
 * {@code configs/g1.conf}: 26 joints in and out, 16 sequences of 48 steps that carry their state, soft targets.
 */
public final class TrainBench implements Benchmark {
    /** Its name in results. */
    public static final String NAME = "train";

    /** Name of the humanoid's shape among the sizes. */
    public static final String G1 = "G1";

    private static final XlstmConfig G1_BACKBONE = XlstmConfig.mlstm(128, 3, 4);
    /** Least steps of an episode. */
    private static final int SHORTEST = 100;

    /** Kernels that are products with weight matrices. */
    private static final Set<String> PRODUCTS = Set.of("linear", "linear dw", "linear dx");
    /** Two runs of the same updates must agree so closely, whatever the number of threads. */
    private static final double SAME_LOSS = 1e-6;

    private final Settings settings;

    /** A model size of {@link ModelSize}, or {@link #G1}. */
    public static ModelSize size(String name) {
        return G1.equalsIgnoreCase(name) ? new ModelSize(G1, G1_BACKBONE) : ModelSize.of(name);
    }

    /** What an update of one size is. */
    private record Load(
            int observations, int actions, int batch, int steps, boolean carry, double binSigma, int times) {}

    private Load load(ModelSize size) {
        return size.name().equals(G1)
                ? new Load(26, 26, 16, 48, true, 2, settings.quick() ? 1 : 5)
                : new Load(39, 4, settings.batch(), settings.steps(), false, 0, 1);
    }

    /**
     * What is trained.
     *
     * @param sizes model sizes
     * @param batch sequences of an update; {@link #G1} has its own
     * @param steps environment steps of a sequence, three tokens each; likewise
     * @param threads worker threads, ascending
     * @param warmUpUpdates before anything is timed, five times as many of {@link #G1}: code is compiled meanwhile
     * @param updates timed, likewise
     * @param quick less time for the matrix products beside it
     */
    public record Settings(
            List<ModelSize> sizes,
            int batch,
            int steps,
            List<Integer> threads,
            int warmUpUpdates,
            int updates,
            boolean quick) {
        private static final int MOST_THREADS = 256;

        public Settings {
            sizes = sizes.stream().distinct().toList();
            threads = List.copyOf(new TreeSet<>(threads));
            if (sizes.isEmpty() || threads.isEmpty()) {
                throw new BenchException(
                        "training is measured with nothing", "sizes or threads are empty", "name one of each");
            }
            require("batch", batch, 4096);
            require("steps", steps, 100_000);
            require("threads", threads.getFirst(), MOST_THREADS);
            require("threads", threads.getLast(), MOST_THREADS);
            require("updates", updates, 1_000_000);
            require("updates of warm-up", warmUpUpdates, 1_000_000);
        }

        private static void require(String what, int value, int high) {
            if (value < 1 || value > high) {
                throw new BenchException(what + " " + value, "it lies in 1.." + high, "choose a value within these");
            }
        }

        /** 16M, 8 sequences of 50 steps, as published, and {@link #G1}; or, quick, a small model. */
        public static Settings defaults(boolean quick, List<Integer> threads) {
            return new Settings(
                    quick ? List.of(size("1M")) : List.of(size("16M"), size(G1)),
                    quick ? 2 : 8,
                    quick ? 10 : 50,
                    threads,
                    quick ? 2 : 15,
                    quick ? 3 : 15,
                    quick);
        }
    }

    public TrainBench(Settings settings) {
        this.settings = settings;
    }

    @Override
    public String name() {
        return NAME;
    }

    @Override
    public String measures() {
        return "training: tokens a second, share of every kernel, GFLOP/s beside OpenBLAS's best product";
    }

    @Override
    public void require() {
        for (ModelSize size : settings.sizes()) {
            Memory.require(
                    "training " + size.name() + " with " + load(size).batch() + " sequences of "
                            + load(size).steps() + " steps",
                    bytes(size));
        }
    }

    @Override
    public void run(Run run) {
        require();
        BestProduct best = run.shared(BestProduct.class, () -> new BestProduct(settings.quick()));
        for (int threads : settings.threads()) {
            run.progress("OpenBLAS, " + threads + " threads");
            double gflops = best.gflops(threads);
            if (Double.isNaN(gflops)) {
                run.note("OpenBLAS does not load here: " + best.whyNot());
            } else {
                run.result(Result.of(
                                NAME, "openblas-" + threads + "t", gflops, "GFLOP/s", Better.HIGHER, best.repetitions())
                        .withNote("best of its fp32 products, core " + best.core()));
            }
        }
        try (TemporaryFolder folder = TemporaryFolder.create("the training benchmark")) {
            for (ModelSize size : settings.sizes()) {
                Path store = folder.path().resolve(size.key());
                generate(store, load(size));
                Measured before = null;
                for (int threads : settings.threads()) {
                    Measured now = measure(run, size, threads, store, best, before);
                    if (before != null && threads == 2 * before.threads) {
                        run.result(Result.of(
                                        NAME,
                                        "train-" + size.key() + "-" + threads + "t-over-" + before.threads + "t",
                                        now.rate / before.rate,
                                        "x",
                                        Better.HIGHER,
                                        now.losses.length)
                                .withFloor(2)
                                .withNote("tokens/s of twice the threads"));
                    }
                    before = now;
                }
            }
        }
    }

    /** Parameters with gradients and moments, and about what one pass keeps for the way back. */
    private long bytes(ModelSize size) {
        long parameters;
        try (Lram model = new Lram(LramConfig.of(size.backbone()))) {
            parameters = model.parameters().count();
        }
        long tokens = 3L * load(size).batch() * load(size).steps();
        long keptPerToken = 24L * size.backbone().blocks() * size.backbone().inner();
        return 4 * (4 * parameters + tokens * keptPerToken);
    }

    private void generate(Path store, Load load) {
        // Whole windows: the tokens of a shorter last one would not count.
        int length = load.steps * Math.max(2, (SHORTEST + load.steps - 1) / load.steps);
        MadeStore.write(store, load.observations, load.actions, length);
    }

    private TrainConfig config(ModelSize size) {
        Load load = load(size);
        return new TrainConfig(
                size.backbone(),
                load.batch,
                load.steps,
                1,
                load.carry,
                (long) load.times * (settings.warmUpUpdates() + settings.updates()),
                0,
                1e-4,
                1,
                0.01,
                0.99,
                1,
                load.binSigma,
                0,
                0,
                false,
                0.02,
                0,
                1,
                7,
                1,
                0.5,
                0,
                0);
    }

    /** One run's result: tokens per second and the loss of every update. */
    private record Measured(int threads, double rate, double[] losses) {}

    /** @param before the same updates with fewer threads, or null */
    private Measured measure(Run run, ModelSize size, int threads, Path folder, BestProduct best, Measured before) {
        String name = "train-" + size.key() + "-" + threads + "t";
        TrainConfig config = config(size);
        int[][] episodes = {IntStream.range(0, MadeStore.EPISODES).toArray()};
        try (TrajectoryStore store = TrajectoryStore.open(folder);
                Backend backend = Backends.open("cpu", BackendOptions.threads(threads))) {
            ModelCard card = Trainer.card(store, "bench", config, episodes, Map.of());
            try (Lram model = new Lram(Trainer.modelConfig(card, config));
                    Trainer trainer = new Trainer(store, card, model, backend, config, episodes, new int[][] {{}})) {
                List<TrainingMetrics> all = new ArrayList<>();
                trainer.run(
                        m -> {
                            all.add(m);
                            run.progress(name + " update " + m.update());
                        },
                        () -> false);
                double[] losses =
                        all.stream().mapToDouble(TrainingMetrics::loss).toArray();
                requireSame(name, before == null ? null : before.losses, losses);
                return new Measured(threads, report(run, name, size, threads, all, model, trainer, best), losses);
            }
        }
    }

    private static void requireSame(String name, double[] before, double[] losses) {
        for (int i = 0; before != null && i < losses.length; i++) {
            double difference = Math.abs(losses[i] - before[i]) / Math.abs(before[i]);
            if (!(difference <= SAME_LOSS)) {
                throw new WrongAnswerException(
                        name + " computes something else than with fewer threads",
                        "the loss of update " + (i + 1) + " is " + losses[i] + " in place of " + before[i],
                        "do not trust this build; run lram test");
            }
        }
    }

    /** @return tokens per second */
    private double report(
            Run run,
            String name,
            ModelSize size,
            int threads,
            List<TrainingMetrics> all,
            Lram model,
            Trainer trainer,
            BestProduct best) {
        Load load = load(size);
        double[] rates = all.stream()
                .skip((long) load.times * settings.warmUpUpdates())
                .mapToDouble(TrainingMetrics::tokensPerSecond)
                .sorted()
                .toArray();
        double median = rates[rates.length / 2];
        double tokens = (double) Lram.TOKENS * load.batch * load.steps;
        List<BestProduct.Shape> products = products(model, load);
        double limit = best.gflops(threads);
        double flopPerToken = flop(products) / tokens;
        run.result(Result.of(NAME, name, median, "tokens/s", Better.HIGHER, rates.length)
                .withFloor(1e9 * limit / flopPerToken)
                .withSpread(rates[0], rates[rates.length - 1])
                .withNote("median of the updates; floor: products with weights alone at OpenBLAS's best"));
        run.result(Result.of(NAME, name + "-flop", median * flopPerToken / 1e9, "GFLOP/s", Better.HIGHER, rates.length)
                .withFloor(limit)
                .withNote("products with weights, forward and backward, over the whole time of an update"));
        run.progress(name + " kernel by kernel");
        int replays = settings.quick() ? 1 : 3;
        Profile profile = trainer.profile(replays);
        Map<String, Long> nanos = profile.nanos();
        double total = nanos.values().stream().mapToLong(Long::longValue).sum();
        double spent = nanos.entrySet().stream()
                .filter(e -> PRODUCTS.contains(e.getKey()))
                .mapToLong(Map.Entry::getValue)
                .sum();
        run.result(
                Result.of(NAME, name + "-products", flop(products) * replays / spent, "GFLOP/s", Better.HIGHER, replays)
                        .withFloor(limit)
                        .withNote("the same over the time of these kernels alone"));
        compare(run, name, threads, replays, products, spent, best);
        double update = 1e9 * tokens / median;
        run.result(Result.of(
                        NAME, name + "-matmul-share", 100 * spent / replays / update, "%", Better.HIGHER, rates.length)
                .withNote("products with weights in the time of an update"));
        run.result(Result.of(
                        NAME,
                        name + "-other-share",
                        100 - 100 * spent / replays / update,
                        "%",
                        Better.LOWER,
                        rates.length)
                .withNote("everything else: cell, pointwise kernels, norms, loss, optimiser, data"));
        List<List<String>> rows = new ArrayList<>();
        nanos.entrySet().stream()
                .sorted(Map.Entry.<String, Long>comparingByValue().reversed())
                .forEach(e -> {
                    double share = 100 * e.getValue() / total;
                    run.detail(Result.of(
                            NAME, name + "-share-" + e.getKey().replace(' ', '-'), share, "%", Better.LOWER, replays));
                    rows.add(List.of(
                            e.getKey(),
                            String.format(Locale.ROOT, "%.2f", e.getValue() / 1e6 / replays),
                            String.format(Locale.ROOT, "%.1f %%", share)));
                });
        run.table(new Run.Table(NAME, "where an update's time goes, " + name, List.of("kernel", "ms", "share"), rows));
        return median;
    }

    /** The same products alone, each at the better of OpenBLAS and the engine's own. */
    private static void compare(
            Run run,
            String name,
            int threads,
            int replays,
            List<BestProduct.Shape> products,
            double spent,
            BestProduct best) {
        run.progress(name + " products alone");
        double blas = 0;
        double own = 0;
        double better = 0;
        for (BestProduct.Shape p : products) {
            BestProduct.Rates r = best.rates(threads, p);
            blas += p.flop() / r.blas();
            own += p.flop() / r.own();
            better += p.flop() / r.best();
        }
        String rates = String.format(
                Locale.ROOT,
                "alone: own %.0f GFLOP/s, OpenBLAS (core %s) %.0f",
                flop(products) / own,
                best.core(),
                flop(products) / blas);
        run.result(
                Result.of(NAME, name + "-matmul-of-best", 100 * better * replays / spent, "%", Better.HIGHER, replays)
                        .withFloor(100)
                        .withNote("products with weights in the model; " + rates + "; 100: the better at every shape"));
    }

    private static double flop(List<BestProduct.Shape> products) {
        return products.stream().mapToDouble(BestProduct.Shape::flop).sum();
    }

    /** The products with weight matrices in an update: forward, the gradient of the input, that of the weight. */
    private static List<BestProduct.Shape> products(Lram model, Load load) {
        int steps = load.batch * load.steps;
        List<BestProduct.Shape> all = new ArrayList<>();
        for (Parameter p : model.parameters().all()) {
            boolean perToken = p.name().contains(".proj_");
            boolean perStep = p.name().equals("action_net.0.weight") || p.name().equals("embed_state.weight");
            if (perToken || perStep) {
                // The two halves of the up-projection are a product each.
                int halves = p.name().contains(".proj_up") ? 2 : 1;
                int rows = perToken ? steps * Lram.TOKENS : steps;
                int out = p.dim(0) / halves;
                int in = p.dim(1);
                for (int h = 0; h < halves; h++) {
                    all.add(new BestProduct.Shape(BlasGemm.Form.FORWARD, rows, out, in));
                    all.add(new BestProduct.Shape(BlasGemm.Form.WEIGHT, out, in, rows));
                    if (!p.name().equals("embed_state.weight")) {
                        all.add(new BestProduct.Shape(BlasGemm.Form.INPUT, rows, in, out));
                    }
                }
            }
        }
        return all;
    }
}
