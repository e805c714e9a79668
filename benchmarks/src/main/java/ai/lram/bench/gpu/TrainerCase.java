package ai.lram.bench.gpu;

import ai.lram.agent.autodiff.Precision;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.train.TrainConfig;
import ai.lram.agent.train.Trainer;
import ai.lram.agent.train.TrainingMetrics;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.bench.TemporaryFolder;
import ai.lram.bench.subject.ModelSize;
import ai.lram.bench.train.MadeStore;
import ai.lram.dataset.store.TrajectoryStore;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;

/**
 * Whole updates of the trainer in mixed precision: batches drawn and sent, the model with encoders and head, loss and norm read.
 *
 * @param size of the model, as names show it
 * @param backbone all mLSTM
 * @param batch sequences
 * @param steps environment steps of a sequence, three tokens each
 * @param publishedRate tokens a second of the published stack alone
 */
record TrainerCase(String size, XlstmConfig backbone, int batch, int steps, double publishedRate) implements GpuCase {
    private static final int WARM_UP = 10;
    private static final int UPDATES = 30;
    private static final int QUICK_UPDATES = 5;

    static GpuCase usual() {
        return new TrainerCase("16m", ModelSize.of("16M").backbone(), 128, 50, TrainCase.RATE_16M);
    }

    @Override
    public String name() {
        return "trainer-" + size;
    }

    @Override
    public void measure(GpuRun run) {
        int updates = run.quick() ? QUICK_UPDATES : UPDATES;
        TrainConfig config = MadeStore.config(backbone, batch, steps, WARM_UP + updates);
        int[][] episodes = {IntStream.range(0, MadeStore.EPISODES).toArray()};
        try (TemporaryFolder folder = TemporaryFolder.create("the GPU benchmark")) {
            Path made = folder.path().resolve("store");
            MadeStore.write(made, 2 * steps);
            try (TrajectoryStore store = TrajectoryStore.open(made)) {
                ModelCard card = Trainer.card(store, "bench", config, episodes, Map.of());
                try (Lram model = new Lram(Trainer.modelConfig(card, config));
                        Trainer trainer = new Trainer(
                                store, card, model, run.engine(), config, episodes, new int[][] {{}}, Precision.BF16)) {
                    report(run, trainer, model);
                }
            }
        }
    }

    private void report(GpuRun run, Trainer trainer, Lram model) {
        List<TrainingMetrics> all = new ArrayList<>();
        trainer.run(
                m -> {
                    all.add(m);
                    run.progress(name() + " update " + m.update());
                },
                () -> false);
        TrainCase.requireFalling(name(), all.getFirst().loss(), all.getLast().loss());
        double tokens = (double) Lram.TOKENS * batch * steps;
        double[] ms = all.stream()
                .skip(WARM_UP)
                .mapToDouble(m -> 1e3 * tokens / m.tokensPerSecond())
                .sorted()
                .toArray();
        TrainCase stack = new TrainCase(size, backbone, batch, Lram.TOKENS * steps, publishedRate, Double.NaN);
        run.rate(
                name(),
                new DeviceTimer.Times(ms[ms.length / 2], ms[0], ms[ms.length - 1], ms.length),
                tokens,
                "tokens/s",
                stack.work(model.parameters().count()),
                publishedRate,
                TrainCase.PEER + ", and the stack alone; floor: see TrainCase.work");
        run.kernels(name(), trainer.kernelTimes(TrainCase.REPLAYS));
    }
}
