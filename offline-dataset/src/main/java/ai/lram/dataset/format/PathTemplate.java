package ai.lram.dataset.format;

import ai.lram.dataset.MalformedDatasetException;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** LeRobot's file name templates: {@code {name}} and {@code {name:03d}} replaced by values, result inside the root. */
record PathTemplate(String template) {
    private static final Pattern FIELD = Pattern.compile("\\{([a-z_]+)(?::0(\\d{1,2})d)?}");

    Path resolve(Path root, Map<String, Object> values) {
        Matcher matcher = FIELD.matcher(template);
        StringBuilder text = new StringBuilder();
        while (matcher.find()) {
            Object value = values.get(matcher.group(1));
            boolean padded = matcher.group(2) != null;
            if (value == null || padded && !(value instanceof Number)) {
                throw malformed(root, "it uses " + matcher.group() + "; known are " + values.keySet());
            }
            String shown = padded
                    ? String.format("%0" + Integer.parseInt(matcher.group(2)) + "d", ((Number) value).longValue())
                    : value.toString();
            matcher.appendReplacement(text, Matcher.quoteReplacement(shown));
        }
        matcher.appendTail(text);
        if (text.indexOf("{") >= 0 || text.indexOf("}") >= 0) {
            throw malformed(root, "only {name} and {name:03d} fields are known");
        }
        try {
            Path base = root.toAbsolutePath().normalize();
            Path file = base.resolve(text.toString()).normalize();
            if (!file.startsWith(base)) {
                throw malformed(root, "it leads out of the data set to " + file);
            }
            return file;
        } catch (InvalidPathException e) {
            throw malformed(root, e.getMessage());
        }
    }

    private MalformedDatasetException malformed(Path root, String why) {
        return new MalformedDatasetException(
                "data set " + root + ": path template '" + template + "' cannot be used",
                why,
                "correct data_path or video_path in meta/info.json");
    }
}
