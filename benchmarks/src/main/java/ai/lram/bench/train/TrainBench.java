package ai.lram.bench.train;

import ai.lram.agent.autodiff.Parameter;
import ai.lram.agent.autodiff.Profile;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.train.TrainConfig;
import ai.lram.agent.train.Trainer;
import ai.lram.agent.train.TrainingMetrics;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
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

/** Training updates on made-up data of Meta-World's shapes: 39 numbers in, 4 out. */
public final class TrainBench implements Benchmark {
    /** Its name in results. */
    public static final String NAME = "train";

    /** Kernels that are products with weight matrices. */
    private static final Set<String> PRODUCTS = Set.of("linear", "linear dw", "linear dx");
    /** Two runs of the same updates must agree so closely, whatever the number of threads. */
    private static final double SAME_LOSS = 1e-6;

    private final Settings settings;

    /**
     * What is trained.
     *
     * @param sizes model sizes
     * @param batch sequences of an update
     * @param steps environment steps of a sequence, three tokens each
     * @param threads worker threads, ascending
     * @param warmUpUpdates before anything is timed
     * @param updates timed
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

        /** 16M, 8 sequences of 50 steps, as published; or, quick, a small model. */
        public static Settings defaults(boolean quick, List<Integer> threads) {
            return new Settings(
                    List.of(ModelSize.of(quick ? "1M" : "16M")),
                    quick ? 2 : 8,
                    quick ? 10 : 50,
                    threads,
                    quick ? 2 : 5,
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
                    "training " + size.name() + " with " + settings.batch() + " sequences of " + settings.steps()
                            + " steps",
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
            Path store = folder.path().resolve("store");
            MadeStore.write(store, Math.max(100, 2 * settings.steps()));
            for (ModelSize size : settings.sizes()) {
                double[] losses = null;
                for (int threads : settings.threads()) {
                    losses = measure(run, size, threads, store, best, losses);
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
        long tokens = 3L * settings.batch() * settings.steps();
        long keptPerToken = 24L * size.backbone().blocks() * size.backbone().inner();
        return 4 * (4 * parameters + tokens * keptPerToken);
    }

    /**
     * @param before losses of the same updates with another number of threads, or null
     * @return the losses of this run's updates
     */
    private double[] measure(Run run, ModelSize size, int threads, Path folder, BestProduct best, double[] before) {
        String name = "train-" + size.key() + "-" + threads + "t";
        TrainConfig config = MadeStore.config(
                size.backbone(), settings.batch(), settings.steps(), settings.warmUpUpdates() + settings.updates());
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
                requireSame(name, before, losses);
                report(run, name, threads, all, model, trainer, best);
                return losses;
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

    private void report(
            Run run,
            String name,
            int threads,
            List<TrainingMetrics> all,
            Lram model,
            Trainer trainer,
            BestProduct best) {
        double[] rates = all.stream()
                .skip(settings.warmUpUpdates())
                .mapToDouble(TrainingMetrics::tokensPerSecond)
                .sorted()
                .toArray();
        double median = rates[rates.length / 2];
        double limit = best.gflops(threads);
        double flopPerToken = 3 * forwardFlop(model) / tokens();
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
        double products = nanos.entrySet().stream()
                .filter(e -> PRODUCTS.contains(e.getKey()))
                .mapToLong(Map.Entry::getValue)
                .sum();
        run.result(Result.of(
                        NAME,
                        name + "-products",
                        3 * forwardFlop(model) * replays / products,
                        "GFLOP/s",
                        Better.HIGHER,
                        replays)
                .withFloor(limit)
                .withNote("the same over the time of these kernels alone"));
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
    }

    private double tokens() {
        return 3.0 * settings.batch() * settings.steps();
    }

    /** Operations of the products with weight matrices in one forward pass; the backward pass takes two more of each. */
    private double forwardFlop(Lram model) {
        double steps = (double) settings.batch() * settings.steps();
        double flop = 0;
        for (Parameter p : model.parameters().all()) {
            boolean perToken = p.name().contains(".proj_");
            boolean perStep = p.name().equals("action_net.0.weight") || p.name().equals("embed_state.weight");
            if (perToken || perStep) {
                flop += 2.0 * p.size() * steps * (perToken ? Lram.TOKENS : 1);
            }
        }
        return flop;
    }
}
