package ai.lram.agent.checkpoint;

import ai.lram.agent.autodiff.Parameter;
import ai.lram.agent.autodiff.ParameterSet;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.train.TrainingSnapshot;
import ai.lram.backend.Backend;
import ai.lram.backend.Tensor;
import ai.lram.dataset.io.DurableFiles;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;

/**
 * A model on disk: a folder with {@value #MODEL}, {@value #CONFIG} and {@value #CARD}, and for runs that are to go on
 * {@value #TRAINING_TENSORS} and {@value #TRAINING_STATE}. Weights carry the published names and layouts.
 *
 * <p>A folder appears complete or not at all: it is written beside its place, synced and renamed. Where one is replaced, the old one is
 * renamed to {@code .NAME.old} for the moment between two renames; a process killed there leaves a complete checkpoint under that name, which
 * {@link #load} then reads.
 */
public final class Checkpoint {
    public static final String MODEL = "model.safetensors";
    public static final String CONFIG = "config.json";
    public static final String CARD = "card.json";
    public static final String TRAINING_TENSORS = "training.safetensors";
    public static final String TRAINING_STATE = "training.json";

    private static final int TRAINING_VERSION = 1;
    private static final long MAX_JSON_BYTES = 64L << 20;
    private static final String STREAMS = "streams";
    private static final String STATE = "state/";

    private Checkpoint() {}

    /** Called after each step of {@link #save}; tests interrupt there. */
    interface Progress {
        void done(String what) throws IOException;
    }

    /**
     * What a checkpoint held. Owns the model.
     *
     * @param extraTensors names in the file that the model has no use for
     */
    public record Loaded(Lram model, ModelCard card, Optional<TrainingSnapshot> training, List<String> extraTensors)
            implements AutoCloseable {
        @Override
        public void close() {
            model.close();
        }
    }

    /**
     * Publishes a model at {@code folder}, in place of a checkpoint that is there.
     *
     * @param training with it the run can go on; taken between two updates, when it belongs to the model's parameters
     * @throws CheckpointWriteException if anything fails; a checkpoint that was there before is still complete
     */
    public static void save(Path folder, Lram model, ModelCard card, Optional<TrainingSnapshot> training) {
        save(folder, model, card, training, what -> {});
    }

    static void save(Path folder, Lram model, ModelCard card, Optional<TrainingSnapshot> training, Progress progress) {
        Path target = folder.toAbsolutePath().normalize();
        Path old = hidden(target, ".old");
        Path fresh = hidden(target, ".new");
        try {
            DurableFiles.createFolders(target.getParent());
            requireReplaceable(target);
            if (!Files.exists(target) && Files.isDirectory(old)) {
                Files.move(old, target, StandardCopyOption.ATOMIC_MOVE);
            }
            DurableFiles.deleteTree(old);
            DurableFiles.deleteTree(fresh);
            Files.createDirectory(fresh);
            writeFiles(fresh, model, card, training, progress);
            DurableFiles.syncFolder(fresh);
            boolean replacing = Files.exists(target);
            if (replacing) {
                Files.move(target, old, StandardCopyOption.ATOMIC_MOVE);
                progress.done("old renamed");
            }
            Files.move(fresh, target, StandardCopyOption.ATOMIC_MOVE);
            DurableFiles.syncFolder(target.getParent());
            progress.done("published");
            DurableFiles.deleteTree(old);
        } catch (IOException e) {
            throw new CheckpointWriteException(
                    "cannot write the checkpoint " + folder,
                    e.toString(),
                    "choose a writable folder on a disk with room",
                    e);
        }
    }

    private static void requireReplaceable(Path target) throws IOException {
        if (!Files.exists(target)) {
            return;
        }
        if (!Files.isDirectory(target)) {
            throw new CheckpointWriteException(
                    "cannot write the checkpoint " + target, "a file of that name is there", "choose another name");
        }
        try (var list = Files.list(target)) {
            List<String> names = list.map(p -> p.getFileName().toString()).toList();
            if (!names.isEmpty() && !names.contains(MODEL)) {
                throw new CheckpointWriteException(
                        "cannot write the checkpoint " + target,
                        "the folder holds other files: " + names,
                        "choose a folder that is empty, absent or a checkpoint");
            }
        }
    }

    private static Path hidden(Path target, String suffix) {
        return target.resolveSibling("." + target.getFileName() + suffix);
    }

    private static void writeFiles(
            Path folder, Lram model, ModelCard card, Optional<TrainingSnapshot> training, Progress progress)
            throws IOException {
        ParameterSet set = model.parameters();
        SafetensorsWriter weights =
                new SafetensorsWriter().metadata("format", "pt").metadata("writer", "lram-runtime");
        for (Parameter p : set.all()) {
            add(weights, p.name(), set, p, p.value());
        }
        weights.writeTo(folder.resolve(MODEL));
        progress.done(MODEL);
        write(folder.resolve(CONFIG), ConfigJson.write(ConfigJson.of(model)));
        progress.done(CONFIG);
        write(folder.resolve(CARD), CardJson.write(card));
        progress.done(CARD);
        if (training.isPresent()) {
            TrainingSnapshot snapshot = training.get();
            SafetensorsWriter state = new SafetensorsWriter();
            state.add(STREAMS, HostTensor.of(snapshot.streams(), snapshot.streams().length));
            new TreeMap<>(snapshot.tensors()).forEach((name, a) -> state.add(STATE + name, HostTensor.of(a, a.length)));
            state.writeTo(folder.resolve(TRAINING_TENSORS));
            progress.done(TRAINING_TENSORS);
            ObjectNode root = Json.MAPPER.createObjectNode();
            root.put("formatVersion", TRAINING_VERSION);
            root.put("update", snapshot.update());
            root.put("elapsedSeconds", snapshot.elapsedSeconds());
            write(folder.resolve(TRAINING_STATE), Json.bytes(root, true));
            progress.done(TRAINING_STATE);
        }
    }

    private static void add(SafetensorsWriter to, String name, ParameterSet set, Parameter p, Tensor t) {
        int[] shape = ParameterLayout.fileShape(p.name(), p.shape());
        to.add(
                name,
                ElementType.F32,
                shape,
                () -> HostTensor.of(ParameterLayout.toFile(p.name(), p.shape(), set.read(t)), shape));
    }

    private static void write(Path file, byte[] bytes) throws IOException {
        try (FileChannel out = FileChannel.open(file, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
            ByteBuffer b = ByteBuffer.wrap(bytes);
            while (b.hasRemaining()) {
                out.write(b);
            }
            out.force(true);
        }
    }

    /** True where {@code folder} holds a checkpoint, or the last complete one before an interrupted replacement. */
    public static boolean exists(Path folder) {
        return Files.isRegularFile(resolve(folder).resolve(MODEL));
    }

    /**
     * Reads a model and places it on an engine.
     *
     * @param training allocate gradients and moments, and read the training state where there is one
     * @throws CheckpointReadException if files are missing or unreadable
     * @throws CorruptCheckpointException if files are damaged or hold NaN or infinite weights
     * @throws IncompatibleCheckpointException if files do not belong to one model of this build
     */
    public static Loaded load(Path folder, Backend backend, boolean training) {
        Path from = resolve(folder);
        ConfigJson.Content content = ConfigJson.read(
                readJson(from.resolve(CONFIG)), from.resolve(CONFIG).toString());
        ModelCard card = readCard(from);
        try (Safetensors file = Safetensors.open(from.resolve(MODEL))) {
            requirePlausible(content, file);
            Lram model = new Lram(content.config(), content.mlstm());
            boolean kept = false;
            try {
                List<String> extra = ParameterReader.requireAll(model.parameters(), file, "");
                requireCardFits(from, card, model);
                model.allocate(backend, training);
                for (Parameter p : model.parameters().all()) {
                    model.parameters().write(p.value(), ParameterReader.read(file, "", p));
                }
                Optional<TrainingSnapshot> snapshot = Optional.empty();
                if (training && Files.exists(from.resolve(TRAINING_STATE))) {
                    snapshot = Optional.of(readTraining(from));
                }
                kept = true;
                return new Loaded(model, card, snapshot, extra);
            } finally {
                if (!kept) {
                    model.close();
                }
            }
        }
    }

    /** The card alone. Errors as {@link #load}. */
    public static ModelCard readCard(Path folder) {
        Path file = resolve(folder).resolve(CARD);
        return CardJson.read(readJson(file), file.toString());
    }

    /** The configuration alone. Errors as {@link #load}. */
    public static LramConfig readConfig(Path folder) {
        Path file = resolve(folder).resolve(CONFIG);
        return ConfigJson.read(readJson(file), file.toString()).config();
    }

    private static Path resolve(Path folder) {
        Path target = folder.toAbsolutePath().normalize();
        Path old = hidden(target, ".old");
        return !Files.exists(target) && Files.isDirectory(old) ? old : target;
    }

    private static void requirePlausible(ConfigJson.Content content, Safetensors file) {
        int blocks = content.config().backbone().blocks();
        if (blocks > file.names().size()) {
            throw new IncompatibleCheckpointException(
                    file.path() + " does not hold the model of its " + CONFIG,
                    blocks + " blocks for " + file.names().size() + " tensors",
                    "keep the files of one checkpoint together");
        }
    }

    private static void requireCardFits(Path folder, ModelCard card, Lram model) {
        card.tasks().forEach(t -> {
            int actions = t.discrete() ? 1 : t.actionSize();
            String why = null;
            if (t.observationSize() > model.config().stateDim()) {
                why = "it observes " + t.observationSize() + " numbers, the model "
                        + model.config().stateDim();
            } else if (actions > model.config().actionDims()) {
                why = "it has " + actions + " action dimensions, the model "
                        + model.config().actionDims();
            } else if (t.discreteActions() > model.config().discreteActions()) {
                why = "it has " + t.discreteActions() + " discrete actions, the model "
                        + model.config().discreteActions();
            } else if (t.hasImage() && !model.config().images()) {
                why = "it has images, the model has no image encoder";
            }
            if (why != null) {
                throw new IncompatibleCheckpointException(
                        folder.resolve(CARD) + ": task " + t.id() + " does not fit the model",
                        why,
                        "keep the files of one checkpoint together");
            }
        });
    }

    private static TrainingSnapshot readTraining(Path from) {
        Path json = from.resolve(TRAINING_STATE);
        JsonFields f = new JsonFields(Json.object(readJson(json), json.toString()), json.toString());
        f.version(TRAINING_VERSION);
        long update = f.longInteger("update");
        double elapsed = f.number("elapsedSeconds");
        f.done();
        if (update < 0 || !(elapsed >= 0) || Double.isInfinite(elapsed)) {
            throw new CorruptCheckpointException(
                    json + " holds an impossible state",
                    "update=" + update + " elapsedSeconds=" + elapsed,
                    "restore the file from a copy");
        }
        try (Safetensors file = Safetensors.open(from.resolve(TRAINING_TENSORS))) {
            Map<String, float[]> tensors = new LinkedHashMap<>();
            for (String name : file.names()) {
                if (name.startsWith(STATE)) {
                    tensors.put(
                            name.substring(STATE.length()), file.tensor(name).floats());
                }
            }
            return new TrainingSnapshot(update, elapsed, file.tensor(STREAMS).longs(), tensors);
        }
    }

    private static byte[] readJson(Path file) {
        try {
            if (Files.size(file) > MAX_JSON_BYTES) {
                throw new CorruptCheckpointException(
                        file + " is too large",
                        Files.size(file) + " bytes, at most " + MAX_JSON_BYTES + " are read",
                        "restore the file from a copy");
            }
            return Files.readAllBytes(file);
        } catch (IOException e) {
            throw new CheckpointReadException(
                    "cannot read " + file,
                    e.toString(),
                    "name a checkpoint folder that holds " + MODEL + ", " + CONFIG + " and " + CARD,
                    e);
        }
    }
}
