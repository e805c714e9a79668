package ai.lram.dataset.format;

import ai.lram.dataset.DatasetReadException;
import ai.lram.dataset.FeatureSpec;
import ai.lram.dataset.FeatureType;
import ai.lram.dataset.MalformedDatasetException;
import ai.lram.dataset.UnsupportedFormatException;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** A checked {@code meta/info.json}. Keys this module does not know are ignored. */
record LeRobotInfo(
        String version,
        String robotType,
        double rateHz,
        long totalEpisodes,
        long totalFrames,
        long chunksSize,
        PathTemplate dataPath,
        PathTemplate videoPath,
        Map<String, Feature> features) {
    static final ObjectMapper JSON = new ObjectMapper();
    static final String INFO = "meta/info.json";
    private static final long MAX_META_BYTES = 1L << 28;

    /**
     * One declared feature.
     *
     * @param dtype NumPy name, or string, language, image, video
     * @param choices number of discrete choices where our own writer noted it, else 0
     */
    record Feature(
            String name,
            String dtype,
            List<Integer> shape,
            List<String> names,
            List<String> units,
            List<Double> lower,
            List<Double> upper,
            int choices) {
        boolean isVideo() {
            return dtype.equals("video");
        }

        boolean isImage() {
            return dtype.equals("image");
        }

        int width() {
            int width = 1;
            for (int size : shape) {
                width *= size;
            }
            return width;
        }

        /** The feature as a numeric one; integers of one element become a discrete choice if asked. */
        FeatureSpec numeric(Path root, boolean discrete) {
            switch (dtype) {
                case "float32",
                        "float64",
                        "float16",
                        "bool",
                        "int8",
                        "int16",
                        "int32",
                        "int64",
                        "uint8",
                        "uint16",
                        "uint32" -> {
                    FeatureType type = discrete && width() == 1 && !dtype.startsWith("float")
                            ? FeatureType.INT64
                            : FeatureType.FLOAT32;
                    return new FeatureSpec(name, type, shape, names, units, lower, upper);
                }
                default ->
                    throw new UnsupportedFormatException(
                            "data set " + root + ": feature " + name + " cannot be used as a number",
                            "its dtype is " + dtype,
                            "choose numeric features (float32, float64, bool, int8 to int64)");
            }
        }
    }

    static LeRobotInfo read(Path root) {
        JsonNode json = json(root.resolve(INFO));
        String version = text(root, json, "codebase_version");
        if (!version.equals("v2.0") && !version.equals("v2.1") && !version.equals("v3.0")) {
            throw new UnsupportedFormatException(
                    "data set " + root + " was not opened",
                    "its codebase_version is " + version,
                    "v2.0, v2.1 and v3.0 are read; convert it with LeRobot's own tools");
        }
        double fps = json.path("fps").asDouble(Double.NaN);
        if (!(fps > 0) || Double.isInfinite(fps)) {
            throw malformed(root, "fps is " + json.path("fps"), "a positive number is needed");
        }
        Map<String, Feature> features = new LinkedHashMap<>();
        JsonNode declared = json.path("features");
        if (!declared.isObject() || declared.isEmpty()) {
            throw malformed(root, "features is missing or empty", "every data set declares its features");
        }
        declared.properties()
                .forEach(entry -> features.put(entry.getKey(), feature(root, entry.getKey(), entry.getValue())));
        JsonNode video = json.path("video_path");
        return new LeRobotInfo(
                version,
                json.path("robot_type").asText(""),
                fps,
                count(root, json, "total_episodes"),
                count(root, json, "total_frames"),
                json.has("chunks_size") ? Math.max(1, count(root, json, "chunks_size")) : 1000,
                new PathTemplate(text(root, json, "data_path")),
                video.isTextual() ? new PathTemplate(video.asText()) : null,
                features);
    }

    Feature feature(Path root, String name) {
        Feature feature = features.get(name);
        if (feature == null) {
            throw new MalformedDatasetException(
                    "data set " + root + " has no feature " + name,
                    "it declares " + features.keySet(),
                    "name one of these in the import options");
        }
        return feature;
    }

    private static Feature feature(Path root, String name, JsonNode json) {
        List<Integer> shape = new ArrayList<>();
        long elements = 1;
        for (JsonNode size : json.path("shape")) {
            long axis = size.asLong(-1);
            elements = axis < 1 || axis > 1 << 26 ? -1 : elements * axis;
            if (elements < 1 || elements > 1 << 26) {
                throw malformed(
                        root,
                        "feature " + name + " has shape " + json.path("shape"),
                        "sizes must be positive and moderate");
            }
            shape.add((int) axis);
        }
        String dtype = json.path("dtype").asText("");
        if (dtype.isEmpty()) {
            throw malformed(root, "feature " + name + " has no dtype", "every feature declares one");
        }
        List<String> names = new ArrayList<>();
        flatten(json.path("names"), names);
        JsonNode extra = json.path("info");
        return new Feature(
                name,
                dtype,
                List.copyOf(shape),
                names.size() == elements && !dtype.equals("video") && !dtype.equals("image")
                        ? List.copyOf(names)
                        : List.of(),
                sized(texts(extra.path("lram.units")), elements),
                sized(numbers(extra.path("lram.lower")), elements),
                sized(numbers(extra.path("lram.upper")), elements),
                Math.max(0, extra.path("lram.choices").asInt(0)));
    }

    private static <T> List<T> sized(List<T> values, long elements) {
        return values.size() == elements ? values : List.of();
    }

    private static List<String> texts(JsonNode array) {
        List<String> values = new ArrayList<>();
        array.forEach(value -> values.add(value.asText()));
        return values;
    }

    private static List<Double> numbers(JsonNode array) {
        List<Double> values = new ArrayList<>();
        array.forEach(value -> values.add(value.asDouble()));
        return values;
    }

    /** Names come as a list, a nested list, an object of lists ({"motors": [...]}) or null. */
    private static void flatten(JsonNode node, List<String> names) {
        if (node.isTextual()) {
            names.add(node.asText());
        } else if (node.isContainerNode()) {
            node.forEach(child -> flatten(child, names));
        }
    }

    static JsonNode json(Path file) {
        byte[] bytes = bytes(file);
        try {
            JsonNode node = JSON.readTree(bytes);
            if (node == null || !node.isObject()) {
                throw new MalformedDatasetException(
                        "file " + file + " is not a JSON object",
                        "it is empty or holds something else",
                        "restore it from its source");
            }
            return node;
        } catch (IOException e) {
            throw notJson(file, e);
        }
    }

    /** The objects of a JSON-lines file. */
    static List<JsonNode> jsonLines(Path file) {
        List<JsonNode> nodes = new ArrayList<>();
        for (String line : new String(bytes(file), StandardCharsets.UTF_8).split("\n")) {
            if (!line.isBlank()) {
                try {
                    nodes.add(JSON.readTree(line));
                } catch (JsonProcessingException e) {
                    throw notJson(file, e);
                }
            }
        }
        return nodes;
    }

    private static MalformedDatasetException notJson(Path file, IOException e) {
        return new MalformedDatasetException(
                "file " + file + " is not valid JSON", String.valueOf(e.getMessage()), "restore it from its source", e);
    }

    private static byte[] bytes(Path file) {
        try {
            if (Files.size(file) > MAX_META_BYTES) {
                throw new MalformedDatasetException(
                        "file " + file + " has " + Files.size(file) + " bytes",
                        "at most " + MAX_META_BYTES + " are expected of a meta file",
                        "restore it from its source");
            }
            return Files.readAllBytes(file);
        } catch (IOException e) {
            throw new DatasetReadException(
                    "file " + file + " cannot be read",
                    e.getClass().getSimpleName() + ": " + e.getMessage(),
                    "copy the data set completely and check permissions",
                    e);
        }
    }

    private static String text(Path root, JsonNode json, String key) {
        if (!json.path(key).isTextual()) {
            throw malformed(root, key + " is " + json.path(key), "a text is needed");
        }
        return json.path(key).asText();
    }

    private static long count(Path root, JsonNode json, String key) {
        JsonNode value = json.path(key);
        if (!value.isIntegralNumber() || value.asLong() < 0 || value.asLong() > 1L << 40) {
            throw malformed(root, key + " is " + value, "a whole number >= 0 is needed");
        }
        return value.asLong();
    }

    private static MalformedDatasetException malformed(Path root, String what, String why) {
        return new MalformedDatasetException("data set " + root + ": " + INFO + ": " + what, why, "correct the file");
    }
}
