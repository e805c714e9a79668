package ai.lram.dataset.format;

import ai.lram.dataset.Column;
import ai.lram.dataset.DatasetReadException;
import ai.lram.dataset.Episode;
import ai.lram.dataset.FeatureSpec;
import ai.lram.dataset.FeatureType;
import ai.lram.dataset.MalformedDatasetException;
import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.UnsupportedFormatException;
import ai.lram.dataset.tfexample.Feature;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Stream;

/**
 * Reads an RLDS data set as TensorFlow Datasets prepares it: a folder with {@code features.json},
 * {@code dataset_info.json} and TFRecord files, each record one episode. One episode is in memory at a time.
 *
 * <p>RLDS gives an episode of T actions T + 1 steps: the last one ({@code is_last}) has an observation, and an action and
 * a reward that mean nothing. It is dropped, as Minari's last observation is; {@code is_terminal} there becomes the end
 * mark "done" of the row before, and an episode that ends without it was cut off. Where the last step is not marked, it
 * is kept. {@link ReaderOptions#keepLastStep()} keeps it always, for data whose authors put a real action and reward
 * there.
 *
 * <p>The observation is {@code observation} itself, or its {@code state}, or all its vectors and single numbers side by
 * side in the order of their names; {@link ReaderOptions#observationFeatures()} chooses among them by path. An action of
 * several fields is put side by side the same way. Images are read if {@link ReaderOptions#imageFeature()} names one or
 * the observation is nothing else. All episodes belong to one task; fields of the episode beside its steps are not read.
 *
 * @see "Ramos et al. 2021, RLDS, arXiv:2111.02767, Sec. 3"
 */
public final class RldsReader implements DatasetReader {
    private static final String OBSERVATION = "observation";
    private static final String STATE = "observation/state";
    private static final String IS_FIRST = "is_first";
    private static final String IS_LAST = "is_last";
    private static final String IS_TERMINAL = "is_terminal";
    private static final String REWARD = "reward";
    private static final String DISCOUNT = "discount";
    private static final List<String> INSTRUCTIONS = List.of(
            "language_instruction",
            "natural_language_instruction",
            "observation/language_instruction",
            "observation/natural_language_instruction");

    private final Path root;
    private final ReaderOptions options;
    private final RldsInfo info;
    private final Map<String, RldsFeature> fields;
    private final List<RldsFeature> observation;
    private final List<RldsFeature> action;
    private final Optional<RldsFeature> image;
    private final Optional<RldsFeature> instruction;
    private final List<RldsFeature> byTrust;
    private final List<RldsFeature> encoded;
    private final TaskInfo task;
    private final List<Numbered> shards = new ArrayList<>();
    private final List<String> warnings = new ArrayList<>();
    private final long episodes;
    private int nextShard;
    private TfRecordFile file;
    private String firstInstruction;
    private boolean severalInstructions;
    private long unmarked;
    private long midway;
    private long empty;
    private long rewardedLastSteps;
    private double droppedReward;

    /** A file and the number of its first episode. */
    private record Numbered(RldsInfo.Shard shard, long firstEpisode) {}

    private RldsReader(Path root, ReaderOptions options) {
        this.root = root;
        this.options = options;
        this.fields = RldsFeature.steps(root);
        this.info = RldsInfo.read(root);
        for (String name : List.of(IS_FIRST, IS_LAST, IS_TERMINAL, REWARD)) {
            scalar(name);
        }
        if (!fields.containsKey(IS_LAST) && !options.keepLastStep()) {
            throw malformed(
                    "steps have no is_last",
                    "so nothing says whether the last step's action and reward mean anything",
                    "read it with the last step kept (keepLastStep) if they do");
        }
        this.observation = observation();
        this.image = image();
        this.action = numeric(under(options.actionFeature()), options.actionFeature());
        this.instruction = INSTRUCTIONS.stream()
                .map(fields::get)
                .filter(field -> field != null && field.kind() == RldsFeature.Kind.TEXT && field.width() == 1)
                .findFirst();
        this.byTrust = byTrust();
        this.encoded = Stream.of(observation.stream(), action.stream(), image.stream())
                .flatMap(chosen -> chosen)
                .filter(RldsFeature::isOneStringAStep)
                .toList();
        this.task = task();
        this.episodes = chooseSplits();
        reportLeftOut();
    }

    /**
     * Opens the data set whose folder (the one that holds {@code features.json}, usually named after a version) is
     * {@code root}.
     *
     * @throws ai.lram.dataset.DatasetException if its JSON files are missing, contradictory or of another format, or a
     *     file of the chosen splits is missing
     */
    public static RldsReader open(Path root, ReaderOptions options) {
        return new RldsReader(root, options);
    }

    /** Whether {@code folder} looks like the folder of a prepared data set. */
    static boolean isPrepared(Path folder) {
        if (Files.isRegularFile(folder.resolve(RldsFeature.FEATURES))) {
            return true;
        }
        try (Stream<Path> files = Files.list(folder)) {
            return files.anyMatch(file -> isRecords(file.getFileName().toString()));
        } catch (IOException | UncheckedIOException e) {
            throw unreadable(folder, e);
        }
    }

    /** Whether a file of this name holds TFRecords. */
    static boolean isRecords(String name) {
        return name.contains(".tfrecord");
    }

    /** The prepared data sets up to three folders (name, configuration, version) below {@code folder}. */
    static List<Path> preparedBelow(Path folder) {
        try (Stream<Path> files =
                Files.find(folder, 4, (file, kind) -> kind.isRegularFile() && file.endsWith(RldsFeature.FEATURES))) {
            return files.map(Path::getParent).sorted().toList();
        } catch (IOException | UncheckedIOException e) {
            throw unreadable(folder, e);
        }
    }

    private static DatasetReadException unreadable(Path folder, Exception e) {
        return new DatasetReadException(
                "folder " + folder + " cannot be read",
                e.getClass().getSimpleName() + ": " + e.getMessage(),
                "check permissions and the device",
                e);
    }

    private Optional<RldsFeature> scalar(String name) {
        RldsFeature field = fields.get(name);
        if (field == null) {
            return Optional.empty();
        }
        if (field.kind() != RldsFeature.Kind.NUMBERS || field.width() != 1) {
            throw malformed(
                    "field " + name + " has shape " + field.shape() + " and dtype " + field.type(),
                    "it is one number a step",
                    "restore features.json from its source");
        }
        return Optional.of(field);
    }

    private List<RldsFeature> under(String path) {
        return fields.values().stream()
                .filter(field -> field.path().equals(path) || field.path().startsWith(path + "/"))
                .toList();
    }

    /** The fields called {@code name}, by their path in the observation or in the step. */
    private List<RldsFeature> named(String name) {
        List<RldsFeature> observed = under(OBSERVATION + "/" + name);
        return observed.isEmpty() ? under(name) : observed;
    }

    private List<RldsFeature> numeric(List<RldsFeature> chosen, String name) {
        if (chosen.isEmpty()) {
            throw malformed(
                    "steps have no field " + name,
                    "they have " + fields.keySet(),
                    "name one of these in the import options");
        }
        for (RldsFeature field : chosen) {
            if (field.kind() != RldsFeature.Kind.NUMBERS) {
                throw new UnsupportedFormatException(
                        "data set " + root + ": field " + field.path() + " cannot be used as numbers",
                        "it " + describe(field),
                        "choose numeric fields of known shape");
            }
        }
        return chosen;
    }

    private List<RldsFeature> observation() {
        if (!options.observationFeatures().isEmpty()) {
            Set<RldsFeature> chosen = new LinkedHashSet<>();
            for (String name : options.observationFeatures()) {
                chosen.addAll(numeric(named(name), name));
            }
            return List.copyOf(chosen);
        }
        List<RldsFeature> vectors = under(OBSERVATION).stream()
                .filter(field -> field.kind() == RldsFeature.Kind.NUMBERS
                        && (field.shape().size() <= 1 || field.path().equals(OBSERVATION)))
                .toList();
        return vectors.stream()
                .filter(field -> field.path().equals(STATE))
                .findFirst()
                .map(List::of)
                .orElse(vectors);
    }

    private Optional<RldsFeature> image() {
        if (options.imageFeature().isPresent()) {
            String name = options.imageFeature().get();
            List<RldsFeature> chosen = named(name);
            if (chosen.size() != 1) {
                throw malformed(
                        chosen.isEmpty() ? "steps have no field " + name : chosen.size() + " fields are below " + name,
                        "steps have " + fields.keySet(),
                        "name one of these as the image");
            }
            return Optional.of(checkedImage(chosen.getFirst()));
        }
        if (!observation.isEmpty()) {
            return Optional.empty();
        }
        List<RldsFeature> images = under(OBSERVATION).stream()
                .filter(field -> field.kind() == RldsFeature.Kind.IMAGE)
                .toList();
        if (images.size() != 1) {
            throw malformed(
                    "the observation has no numbers and " + images.size() + " images",
                    "steps have " + fields.keySet(),
                    "name observation fields or an image in the import options");
        }
        return Optional.of(checkedImage(images.getFirst()));
    }

    private RldsFeature checkedImage(RldsFeature field) {
        boolean known = field.kind() == RldsFeature.Kind.IMAGE && field.type() == RldsFeature.Type.UINT8;
        if (!known
                || field.shape().size() != 3
                || field.shape().get(2) != 1 && field.shape().get(2) != 3) {
            throw new UnsupportedFormatException(
                    "data set " + root + ": field " + field.path() + " cannot be read as image",
                    "it " + describe(field),
                    "encoded images of bytes, of known size and with 1 or 3 channels, are read");
        }
        return field;
    }

    private static String describe(RldsFeature field) {
        return field.kind() == RldsFeature.Kind.OTHER
                ? field.reason()
                : "holds " + field.kind() + " of dtype " + field.type() + ", shape " + field.shape();
    }

    private TaskInfo task() {
        RldsFeature only = action.size() == 1 ? action.getFirst() : null;
        boolean discrete = only != null && only.width() == 1 && !only.type().isFloat();
        FeatureSpec acted = discrete ? FeatureSpec.discrete(only.path()) : joined(action, options.actionFeature());
        int choices = discrete && options.discreteActions() == 0 ? only.choices() : options.discreteActions();
        return new TaskInfo(
                options.taskId().orElse(info.name()),
                options.domain().isEmpty() ? "rlds" : options.domain(),
                "",
                observation.isEmpty() ? Optional.empty() : Optional.of(joined(observation, OBSERVATION)),
                acted,
                image.map(field -> FeatureSpec.image(
                        field.path(),
                        field.shape().get(2),
                        field.shape().get(0),
                        field.shape().get(1))),
                discrete ? choices : 0,
                options.rateHz(),
                fields.containsKey(REWARD),
                fields.containsKey(IS_TERMINAL),
                false);
    }

    /** One field as it is, or several side by side, each element named after its field. */
    private FeatureSpec joined(List<RldsFeature> chosen, String name) {
        if (chosen.size() == 1) {
            RldsFeature field = chosen.getFirst();
            List<Integer> shape = field.shape().isEmpty() ? List.of(1) : field.shape();
            return new FeatureSpec(field.path(), FeatureType.FLOAT32, shape, List.of());
        }
        List<String> names = new ArrayList<>();
        for (RldsFeature field : chosen) {
            if ((long) names.size() + field.width() > 1 << 26) {
                throw malformed(
                        name + " has more than 2^26 values a step",
                        "it joins " + chosen.size() + " fields",
                        "choose fewer of them");
            }
            for (int i = 0; i < field.width(); i++) {
                names.add(field.path() + "." + i);
            }
        }
        return new FeatureSpec(name, FeatureType.FLOAT32, List.of(names.size()), names);
    }

    private long chooseSplits() {
        List<String> known = info.splits().stream().map(RldsInfo.Split::name).toList();
        for (String wanted : options.splits()) {
            if (!known.contains(wanted)) {
                throw malformed("there is no split " + wanted, "it has " + known, "name one of these");
            }
        }
        long total = 0;
        List<String> read = new ArrayList<>();
        for (RldsInfo.Split split : info.splits()) {
            if (!options.splits().isEmpty() && !options.splits().contains(split.name())) {
                continue;
            }
            long first = split.firstEpisode();
            for (RldsInfo.Shard shard : split.shards()) {
                if (!Files.isRegularFile(shard.file())) {
                    throw new DatasetReadException(
                            "TFRecord file " + shard.file() + " is missing",
                            "split " + split.name() + " has " + split.shards().size()
                                    + " files, counted from 0 this is "
                                    + split.shards().indexOf(shard),
                            "copy the data set completely, or choose other splits");
                }
                shards.add(new Numbered(shard, first));
                first += shard.episodes();
            }
            total += split.episodes();
            read.add(split.name() + " (episodes " + split.firstEpisode() + " to " + (first - 1) + ")");
        }
        if (read.size() > 1) {
            warnings.add(read.size() + " splits were read one after the other: " + String.join(", ", read)
                    + "; choose splits to keep some out");
        }
        return total;
    }

    private void reportLeftOut() {
        Set<RldsFeature> used = new LinkedHashSet<>(observation);
        used.addAll(action);
        image.ifPresent(used::add);
        instruction.ifPresent(used::add);
        List<RldsFeature> others = new ArrayList<>();
        for (RldsFeature field : fields.values()) {
            if (used.contains(field)
                    || Set.of(IS_FIRST, IS_LAST, IS_TERMINAL, REWARD, DISCOUNT).contains(field.path())) {
                continue;
            }
            if (field.kind() == RldsFeature.Kind.IMAGE) {
                warnings.add("field " + field.path() + " is an image and was not asked for; it was left out");
            } else {
                others.add(field);
            }
        }
        if (!others.isEmpty()) {
            warnings.add("fields that were left out: "
                    + String.join(
                            ", ",
                            others.stream()
                                    .map(field -> field.path()
                                            + (field.kind() == RldsFeature.Kind.OTHER
                                                    ? " (" + field.reason() + ")"
                                                    : ""))
                                    .toList()));
        }
    }

    @Override
    public String format() {
        return "RLDS TFRecord";
    }

    @Override
    public List<TaskInfo> tasks() {
        return List.of(task);
    }

    /** Number of episodes; those without a single action are taken off when they are met. */
    @Override
    public long episodeCount() {
        return episodes - empty;
    }

    @Override
    public long rowCount() {
        return -1;
    }

    @Override
    public Episode next() {
        while (nextShard < shards.size()) {
            if (file == null) {
                file = TfRecordFile.open(shards.get(nextShard).shard.file());
            }
            Numbered current = shards.get(nextShard);
            long number = file.records();
            byte[] record = file.next();
            if ((record == null) != (number == current.shard.episodes())) {
                throw new MalformedDatasetException(
                        "TFRecord file " + current.shard.file() + " holds "
                                + (record == null ? "only " + number : "more than " + number) + " records",
                        "dataset_info.json says " + current.shard.episodes(),
                        "restore the file from its source");
            }
            if (record == null) {
                closeFile();
                nextShard++;
                continue;
            }
            Episode episode = episode(
                    new RldsRecord(current.shard.file(), current.firstEpisode + number, record),
                    current.firstEpisode + number);
            if (episode != null) {
                return episode;
            }
            empty++;
        }
        return null;
    }

    /** The record's episode, or null if it holds no action. */
    private Episode episode(RldsRecord record, long number) {
        int steps = steps(record);
        float[] terminal = flags(record, IS_TERMINAL, steps);
        int rows = steps == 0 ? 0 : rows(record, terminal, steps);
        if (rows == 0) {
            return null;
        }
        for (RldsFeature field : encoded) {
            record.checkSize(record.feature(field), field, steps);
        }
        Episode.Builder builder = Episode.builder(task.taskId(), rows).sourceEpisode(number);
        if (!observation.isEmpty()) {
            builder.column(Column.OBSERVATION, columns(record, observation, rows));
        }
        builder.column(Column.ACTION, columns(record, action, rows));
        if (task.hasRewards()) {
            builder.column(Column.REWARD, rewards(record, rows, steps));
        }
        if (terminal != null) {
            float[] done = new float[rows];
            done[rows - 1] = terminal[steps - 1];
            builder.column(Column.DONE, done);
        }
        image.ifPresent(field -> builder.image(
                record.pixels(record.feature(field), field, task.image().orElseThrow(), rows)));
        instruction.ifPresent(field -> builder.instruction(noted(record.text(record.feature(field), field))));
        return builder.build();
    }

    /** Number of steps that are actions with what came of them. */
    private int rows(RldsRecord record, float[] terminal, int steps) {
        float[] first = flags(record, IS_FIRST, steps);
        float[] last = flags(record, IS_LAST, steps);
        for (int i = 1; i < steps; i++) {
            if (first != null && first[i] != 0) {
                throw record.malformed("is_first is set at step " + i, "a record is one episode");
            }
            if (last != null && last[i - 1] != 0 || terminal != null && terminal[i - 1] != 0) {
                throw record.malformed(
                        "is_last or is_terminal is set at step " + (i - 1), "there are " + steps + " steps");
            }
        }
        boolean marked = last != null && last[steps - 1] != 0;
        if (last != null && !marked && terminal != null && terminal[steps - 1] != 0) {
            throw record.malformed(
                    "the last step has is_terminal without is_last", "a terminal step is an episode's last");
        }
        midway += first != null && first[0] == 0 ? 1 : 0;
        unmarked += last != null && !marked ? 1 : 0;
        return marked && !options.keepLastStep() ? steps - 1 : steps;
    }

    /** Number of steps of the record, after every field that is declared has shown it. */
    private int steps(RldsRecord record) {
        int steps = -1;
        String by = "";
        for (RldsFeature field : byTrust) {
            Feature feature = record.feature(field);
            int entries = record.entries(feature, field);
            int aStep = field.isOneStringAStep() ? 1 : field.width();
            if (entries % aStep != 0) {
                throw record.malformed("field " + field.path() + " has " + entries + " values", "a step has " + aStep);
            }
            if (steps < 0) {
                steps = entries / aStep;
                by = field.path();
            } else if (entries / aStep != steps) {
                throw record.malformed(
                        "field " + field.path() + " has " + entries / aStep + " steps", by + " has " + steps);
            }
        }
        return steps;
    }

    /** The fields that are read, those first whose length is the number of steps. */
    private List<RldsFeature> byTrust() {
        List<RldsFeature> sorted = new ArrayList<>();
        for (String name : List.of(IS_FIRST, IS_LAST, REWARD)) {
            scalar(name).ifPresent(sorted::add);
        }
        fields.values().stream()
                .filter(field -> field.kind() != RldsFeature.Kind.OTHER && !sorted.contains(field))
                .forEach(sorted::add);
        return sorted;
    }

    private float[] flags(RldsRecord record, String name, int steps) {
        return scalar(name)
                .map(field -> {
                    float[] values = new float[steps];
                    record.copy(record.feature(field), field, steps, values, 0, 1);
                    for (float value : values) {
                        if (value != 0 && value != 1) {
                            throw record.malformed("field " + name + " holds " + value, "it is 0 or 1");
                        }
                    }
                    return values;
                })
                .orElse(null);
    }

    private float[] columns(RldsRecord record, List<RldsFeature> chosen, int rows) {
        int width = chosen.stream().mapToInt(RldsFeature::width).sum();
        float[] values = new float[record.size(rows, width)];
        int offset = 0;
        for (RldsFeature field : chosen) {
            record.copy(record.feature(field), field, rows, values, offset, width);
            offset += field.width();
        }
        return values;
    }

    private float[] rewards(RldsRecord record, int rows, int steps) {
        RldsFeature field = scalar(REWARD).orElseThrow();
        float[] rewards = new float[steps];
        record.copy(record.feature(field), field, steps, rewards, 0, 1);
        if (rows == steps) {
            return rewards;
        }
        if (rewards[rows] != 0) {
            rewardedLastSteps++;
            droppedReward += rewards[rows];
        }
        return Arrays.copyOf(rewards, rows);
    }

    private String noted(String text) {
        if (firstInstruction == null) {
            firstInstruction = text;
        }
        severalInstructions |= !text.equals(firstInstruction);
        return text;
    }

    @Override
    public List<String> warnings() {
        List<String> all = new ArrayList<>(warnings);
        if (rewardedLastSteps > 0) {
            all.add("the last steps of " + rewardedLastSteps + " episodes carry rewards of " + droppedReward
                    + " in all, which RLDS calls invalid; they were dropped with their steps. Keep last steps"
                    + " (keepLastStep) if these rewards are real");
        }
        if (unmarked > 0) {
            all.add(unmarked + " episodes end without is_last; their last step was kept as a real one");
        }
        if (midway > 0) {
            all.add(midway + " episodes begin without is_first: their beginning is missing");
        }
        if (empty > 0) {
            all.add(empty + " episodes without an action were left out");
        }
        if (severalInstructions) {
            all.add("different instructions (" + instruction.orElseThrow().path() + ") were put under the one task "
                    + task.taskId());
        }
        return List.copyOf(all);
    }

    private MalformedDatasetException malformed(String what, String why, String fix) {
        return new MalformedDatasetException("data set " + root + ": " + what, why, fix);
    }

    @Override
    public void close() {
        closeFile();
        nextShard = shards.size();
    }

    private void closeFile() {
        if (file != null) {
            file.close();
            file = null;
        }
    }
}
