package ai.lram.cli.scenario;

import ai.lram.agent.autodiff.Precision;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.checkpoint.Checkpoint;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.train.TrainConfig;
import ai.lram.agent.train.Trainer;
import ai.lram.agent.train.TrainingListener;
import ai.lram.agent.train.TrainingMetrics;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.bench.report.Chart;
import ai.lram.bench.report.PngPlot;
import ai.lram.bench.report.ReportException;
import ai.lram.cli.config.InputException;
import ai.lram.cli.config.Settings;
import ai.lram.cli.config.TrainSettings;
import ai.lram.cli.progress.Progress;
import ai.lram.dataset.io.DurableFiles;
import ai.lram.dataset.sample.EpisodeSplit;
import ai.lram.dataset.store.TrajectoryStore;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.BooleanSupplier;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * One training run in a folder: {@code model/} (the checkpoint), {@code metrics.jsonl} (a line per update), {@code loss.png} and
 * {@code train.conf} (the settings in force). A run that was stopped goes on in the same folder.
 */
public final class TrainingRun {
    /** The settings of a run, in its folder. */
    public static final String SETTINGS = "train.conf";

    static final String METRICS = "metrics.jsonl";
    static final String PLOT = "loss.png";

    private static final Logger LOG = LoggerFactory.getLogger(TrainingRun.class);
    /** Settings that a continued run may change: none of them changes what an update computes from its counter. */
    private static final Set<String> CHANGEABLE = Set.of("max-minutes", "checkpoint-every", "validate-every");

    private static final int PLOTTED = 400;

    private TrainingRun() {}

    /**
     * What to train.
     *
     * @param store a trajectory store
     * @param settings of a new run; of a continued one, where given, they must agree with its own
     * @param maxMinutes wall-clock budget in place of the settings' own
     * @param out the run's folder
     * @param resume go on with the run in {@code out}
     * @param device engine
     * @param threads worker threads, 0 for all processors
     * @param name of the model on its card
     * @param precision of training; where not given bf16 on engines that have it, else fp32
     */
    public record Request(
            Path store,
            Optional<TrainConfig> settings,
            Optional<Double> maxMinutes,
            Path out,
            boolean resume,
            String device,
            int threads,
            String name,
            Optional<Precision> precision) {
        Precision precisionOn(Backend backend) {
            return precision.orElse(backend.ops().mixed().supported() ? Precision.BF16 : Precision.FP32);
        }
    }

    /**
     * What came of it.
     *
     * @param model the checkpoint
     * @param history one entry per update of the whole run
     * @param parameters trainable numbers
     * @param finished true if its updates or its minutes ended it, false if it was stopped
     */
    public record Result(Path model, List<TrainingMetrics> history, long parameters, boolean finished) {
        public Result {
            history = List.copyOf(history);
        }

        public TrainingMetrics last() {
            return history.getLast();
        }
    }

    /**
     * Trains until the settings' end or until {@code stop}; either way the run is saved.
     *
     * @throws InputException if the folder cannot be used for this
     * @throws ai.lram.agent.train.TrainingDivergedException if the loss ceases to be finite; the last checkpoint stays
     */
    public static Result run(Request request, Progress progress, BooleanSupplier stop) {
        Path model = request.out().resolve(Models.MODEL);
        TrainConfig config = settings(request, model);
        try (TrajectoryStore store = TrajectoryStore.open(request.store());
                Backend backend = Backends.open(request.device(), BackendOptions.threads(request.threads()))) {
            EpisodeSplit split = EpisodeSplit.random(store, config.heldOutFraction(), config.splitSeed());
            int[][] training = perTask(store, split.training(), config.topReturnFraction());
            int[][] heldOut = perTask(store, split.heldOut(), 1);
            createFolder(request.out());
            FolderLock lock = FolderLock.take(request.out());
            try {
                return locked(request, config, store, backend, split, training, heldOut, model, progress, stop);
            } finally {
                lock.release();
            }
        }
    }

    private static Result locked(
            Request request,
            TrainConfig config,
            TrajectoryStore store,
            Backend backend,
            EpisodeSplit split,
            int[][] training,
            int[][] heldOut,
            Path model,
            Progress progress,
            BooleanSupplier stop) {
        Checkpoint.Loaded loaded = null;
        Lram lram = null;
        try {
            ModelCard card;
            if (request.resume()) {
                loaded = Checkpoint.load(model, backend, true);
                lram = loaded.model();
                card = loaded.card();
                if (!split.equals(Provenance.split(card, store))) {
                    throw new InputException(
                            "cannot go on with the run in " + request.out(),
                            "its episodes were divided differently",
                            "start a new run");
                }
            } else {
                card = Trainer.card(store, request.name(), config, training, Provenance.of(store, split, training));
                lram = new Lram(Trainer.modelConfig(card, config));
            }
            try (Trainer trainer =
                    new Trainer(store, card, lram, backend, config, training, heldOut, request.precisionOn(backend))) {
                long from = 0;
                if (loaded != null) {
                    trainer.restore(loaded.training()
                            .orElseThrow(() -> new InputException(
                                    "cannot go on with the run in " + request.out(),
                                    "its checkpoint has no training state",
                                    "start a new run")));
                    from = trainer.update();
                }
                write(request.out().resolve(SETTINGS), TrainSettings.hocon(config));
                return train(trainer, request.out(), model, from, progress, stop);
            }
        } finally {
            if (lram != null) {
                lram.close();
            }
        }
    }

    private static Result train(
            Trainer trainer, Path out, Path model, long from, Progress progress, BooleanSupplier stop) {
        boolean[] stopped = {false};
        try (Metrics metrics = Metrics.open(out.resolve(METRICS), from)) {
            trainer.run(
                    new TrainingListener() {
                        @Override
                        public void updated(TrainingMetrics m) {
                            metrics.append(m);
                            progress.update(m.progress(), message(m));
                        }

                        @Override
                        public void checkpointDue(Trainer due) {
                            save(due, model);
                        }
                    },
                    () -> stopped[0] = stop.getAsBoolean());
            save(trainer, model);
            List<TrainingMetrics> history = metrics.history();
            plot(out.resolve(PLOT), history);
            return new Result(model, history, trainer.model().parameters().count(), !stopped[0]);
        }
    }

    private static void save(Trainer trainer, Path model) {
        Checkpoint.save(model, trainer.model(), trainer.card(), Optional.of(trainer.snapshot()));
    }

    static String message(TrainingMetrics m) {
        return String.format(
                Locale.ROOT, "update %d, loss %.4f, %s tokens/s", m.update(), m.loss(), thousands(m.tokensPerSecond()));
    }

    private static String thousands(double v) {
        return v >= 10_000 ? String.format(Locale.ROOT, "%.1fk", v / 1000) : String.format(Locale.ROOT, "%.0f", v);
    }

    private static TrainConfig settings(Request request, Path model) {
        boolean there = Checkpoint.exists(model);
        if (!request.resume()) {
            if (there) {
                throw new InputException(
                        "cannot start a run in " + request.out(),
                        "there is one already",
                        "add --resume to go on with it, or choose another --out");
            }
            TrainConfig c = request.settings().orElseThrow();
            return request.maxMinutes().map(c::withMaxMinutes).orElse(c);
        }
        if (!there) {
            throw new InputException(
                    "cannot go on with a run in " + request.out(),
                    "no checkpoint was saved there",
                    "start it without --resume");
        }
        Path file = request.out().resolve(SETTINGS);
        TrainConfig own =
                TrainSettings.read(Settings.load(Optional.of(file), List.of(TrainSettings.SECTION)), file.toString());
        TrainConfig config = own;
        if (request.settings().isPresent()) {
            Map<String, String> differences =
                    TrainSettings.differences(own, request.settings().get());
            differences.keySet().removeAll(CHANGEABLE);
            if (!differences.isEmpty()) {
                throw new InputException(
                        "cannot go on with the run in " + request.out() + " under other settings",
                        differences.toString(),
                        "leave --config out, or start a new run");
            }
            config = request.settings().get();
        }
        return request.maxMinutes().map(config::withMaxMinutes).orElse(config);
    }

    /** Episodes of each task in the store's order; of each only the best share by return. */
    static int[][] perTask(TrajectoryStore store, int[] episodes, double bestShare) {
        int[][] out = new int[store.taskIds().size()][];
        for (int t = 0; t < out.length; t++) {
            int number = t;
            int[] own = Arrays.stream(episodes)
                    .filter(e -> store.taskNumber(e) == number)
                    .toArray();
            int keep = (int) Math.ceil(bestShare * own.length);
            if (keep < own.length) {
                own = Arrays.stream(own)
                        .boxed()
                        .sorted(Comparator.comparingDouble(
                                e -> -store.episode(e).episodeReturn()))
                        .limit(keep)
                        .mapToInt(Integer::intValue)
                        .sorted()
                        .toArray();
            }
            out[t] = own;
        }
        return out;
    }

    /** Loss over updates, smoothed, and the validation loss where there is one. Never ends a run. */
    private static void plot(Path file, List<TrainingMetrics> history) {
        if (history.isEmpty()) {
            return;
        }
        try {
            PngPlot.write(file, lossChart(history));
        } catch (ReportException e) {
            LOG.warn("{}", e.getMessage());
        }
    }

    /** The losses of a run. */
    static Chart lossChart(List<TrainingMetrics> history) {
        List<Chart.Series> series = new ArrayList<>();
        series.add(Chart.Series.line(
                        "training",
                        history.stream().mapToDouble(TrainingMetrics::update).toArray(),
                        history.stream().mapToDouble(TrainingMetrics::loss).toArray())
                .smoothed("training", PLOTTED));
        List<TrainingMetrics> validated = history.stream()
                .filter(m -> Double.isFinite(m.validationLoss()))
                .toList();
        if (!validated.isEmpty()) {
            series.add(Chart.Series.line(
                    "held-out episodes",
                    validated.stream().mapToDouble(TrainingMetrics::update).toArray(),
                    validated.stream()
                            .mapToDouble(TrainingMetrics::validationLoss)
                            .toArray()));
        }
        return new Chart("Cross-entropy over action tokens", "update", "nats", false, series);
    }

    private static void createFolder(Path out) {
        try {
            DurableFiles.createFolders(out.toAbsolutePath().normalize());
        } catch (IOException e) {
            throw new InputException("cannot create " + out, e.toString(), "choose a writable --out", e);
        }
    }

    static void write(Path file, String text) {
        try {
            DurableFiles.replace(file.toAbsolutePath(), text.getBytes(StandardCharsets.UTF_8));
        } catch (IOException e) {
            throw new InputException(
                    "cannot write " + file, e.toString(), "choose a writable place on a disk with room", e);
        }
    }
}
