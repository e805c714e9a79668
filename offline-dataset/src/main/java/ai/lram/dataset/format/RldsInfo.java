package ai.lram.dataset.format;

import ai.lram.dataset.MalformedDatasetException;
import ai.lram.dataset.UnsupportedFormatException;
import com.fasterxml.jackson.databind.JsonNode;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * A checked {@code dataset_info.json} of TensorFlow Datasets: what the data set is called and which files hold it. Keys
 * this module does not know are ignored.
 *
 * @param name the data set's name with its configuration, {@code name/config}
 */
record RldsInfo(String name, String version, List<Split> splits) {
    static final String INFO = "dataset_info.json";
    private static final String TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}";
    private static final String TFRECORD = "tfrecord";
    private static final long MAX_EPISODES = 1L << 40;

    /**
     * A part of the data set.
     *
     * @param firstEpisode number of its first episode, counted over all splits in their order
     */
    record Split(String name, long firstEpisode, List<Shard> shards) {
        long episodes() {
            return shards.stream().mapToLong(Shard::episodes).sum();
        }
    }

    /** One file and how many records it holds. */
    record Shard(Path file, long episodes) {}

    static RldsInfo read(Path root) {
        JsonNode json = LeRobotInfo.json(root.resolve(INFO));
        String format = json.path("fileFormat").asText(TFRECORD);
        if (!format.equals(TFRECORD)) {
            throw new UnsupportedFormatException(
                    "data set " + root + " was not opened",
                    "its fileFormat is " + format,
                    "tfrecord is read; convert it with TensorFlow Datasets' own tools");
        }
        String name = json.path("name").asText("");
        if (name.isEmpty()) {
            throw malformed(root, "there is no name", "it is part of every file's name");
        }
        if (!json.path("splits").isArray() || json.path("splits").isEmpty()) {
            throw malformed(root, "splits is missing or empty", "it says which files there are");
        }
        List<Split> splits = new ArrayList<>();
        long first = 0;
        for (JsonNode entry : json.path("splits")) {
            Split split = split(root, name, entry, first);
            if (splits.stream().anyMatch(s -> s.name.equals(split.name))) {
                throw malformed(root, "split " + split.name + " is listed twice", "names are unique");
            }
            first += split.episodes();
            if (first > MAX_EPISODES) {
                throw malformed(root, "the splits hold " + first + " episodes", "at most 2^40 are plausible");
            }
            splits.add(split);
        }
        String config = json.path("configName").asText("");
        return new RldsInfo(
                config.isEmpty() ? name : name + "/" + config,
                json.path("version").asText(""),
                List.copyOf(splits));
    }

    private static Split split(Path root, String dataset, JsonNode entry, long first) {
        String name = entry.path("name").asText("");
        if (name.isEmpty()) {
            throw malformed(root, "a split has no name", "it is part of its files' names");
        }
        JsonNode lengths = entry.path("shardLengths");
        if (!lengths.isArray() || lengths.isEmpty()) {
            throw malformed(
                    root,
                    "split " + name + " lists no shardLengths",
                    "it is empty, or whoever wrote it did not finish");
        }
        String template = entry.path("filepathTemplate").asText("");
        List<Shard> shards = new ArrayList<>();
        for (int i = 0; i < lengths.size(); i++) {
            long episodes = count(lengths.get(i));
            if (episodes < 0 || episodes > MAX_EPISODES) {
                throw malformed(
                        root, "split " + name + ": shard " + i + " has length " + lengths.get(i), "it counts episodes");
            }
            Path file = file(root, template.isEmpty() ? TEMPLATE : template, dataset, name, i, lengths.size());
            shards.add(new Shard(file, episodes));
        }
        return new Split(name, first, List.copyOf(shards));
    }

    /** 64-bit numbers are text in this JSON; -1 if it is none. */
    static long count(JsonNode value) {
        if (value.isIntegralNumber() && value.canConvertToLong()) {
            return value.asLong();
        }
        return value.isTextual() && value.asText().matches("-?\\d{1,18}") ? Long.parseLong(value.asText()) : -1;
    }

    private static Path file(Path root, String template, String dataset, String split, int shard, int shards) {
        String number = "%0" + Math.max(5, String.valueOf(shards).length()) + "d";
        String index = String.format(number, shard);
        String total = String.format(number, shards);
        String text = template;
        for (Map.Entry<String, String> field : Map.of(
                        "{DATASET}", dataset,
                        "{SPLIT}", split,
                        "{FILEFORMAT}", TFRECORD,
                        "{SHARD_INDEX}", index,
                        "{NUM_SHARDS}", total,
                        "{SHARD_X_OF_Y}", index + "-of-" + total)
                .entrySet()) {
            text = text.replace(field.getKey(), field.getValue());
        }
        try {
            Path base = root.toAbsolutePath().normalize();
            Path file = base.resolve(text).normalize();
            if (text.indexOf('{') >= 0 || !file.startsWith(base) || file.equals(base)) {
                throw malformed(
                        root,
                        "split " + split + ": filepathTemplate '" + template + "' gives " + file,
                        "it has unknown fields or leads out of the data set");
            }
            return file;
        } catch (InvalidPathException e) {
            throw malformed(root, "split " + split + ": filepathTemplate '" + template + "'", e.getMessage());
        }
    }

    private static MalformedDatasetException malformed(Path root, String what, String why) {
        return new MalformedDatasetException(
                "data set " + root + ": " + INFO + ": " + what, why, "restore the file from its source");
    }
}
