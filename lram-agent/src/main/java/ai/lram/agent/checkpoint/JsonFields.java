package ai.lram.agent.checkpoint;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Reads the fields of one JSON object and refuses missing, mistyped and unknown ones by name. */
final class JsonFields {
    private static final String POSITIVE = "Infinity";
    private static final String NEGATIVE = "-Infinity";

    private final ObjectNode node;
    private final String where;
    private final Set<String> unread;

    JsonFields(ObjectNode node, String where) {
        this.node = node;
        this.where = where;
        Set<String> names = new LinkedHashSet<>();
        for (Iterator<String> it = node.fieldNames(); it.hasNext(); ) {
            names.add(it.next());
        }
        this.unread = names;
    }

    /** Writes a number; infinities as text, which JSON numbers cannot be. */
    static void put(ObjectNode to, String key, double value) {
        if (Double.isInfinite(value)) {
            to.put(key, value > 0 ? POSITIVE : NEGATIVE);
        } else {
            to.put(key, value);
        }
    }

    String where() {
        return where;
    }

    /** To be called last. @throws IncompatibleCheckpointException naming fields nobody asked for */
    void done() {
        if (!unread.isEmpty()) {
            throw new IncompatibleCheckpointException(
                    where + " has unknown keys " + unread,
                    "this build does not know what they mean",
                    "remove them, or use the build that wrote the file");
        }
    }

    /** Every key must have been read by the given version. */
    void version(int known) {
        int version = integer("formatVersion");
        if (version != known) {
            throw new IncompatibleCheckpointException(
                    where + " has format version " + version,
                    "this build reads version " + known,
                    "export it again with this build");
        }
    }

    private JsonNode take(String key) {
        JsonNode value = node.get(key);
        if (value == null) {
            throw new IncompatibleCheckpointException(
                    where + " lacks the key " + key,
                    "it has " + names(),
                    "add it, or export the file again with this build");
        }
        unread.remove(key);
        return value;
    }

    private List<String> names() {
        List<String> all = new ArrayList<>();
        node.fieldNames().forEachRemaining(all::add);
        return all;
    }

    private IncompatibleCheckpointException mistyped(String key, JsonNode value, String wanted) {
        String text = value.toString();
        return new IncompatibleCheckpointException(
                where + ": " + key + " cannot be used",
                "it is " + (text.length() > 80 ? text.substring(0, 80) + "…" : text),
                "give " + wanted);
    }

    String text(String key) {
        JsonNode v = take(key);
        if (!v.isTextual()) {
            throw mistyped(key, v, "text");
        }
        return v.textValue();
    }

    /** Text or null. */
    String textOrNull(String key) {
        JsonNode v = take(key);
        if (v.isNull()) {
            return null;
        }
        if (!v.isTextual()) {
            throw mistyped(key, v, "text or null");
        }
        return v.textValue();
    }

    int integer(String key) {
        return integer(key, take(key));
    }

    private int integer(String key, JsonNode v) {
        if (!v.isIntegralNumber() || !v.canConvertToInt()) {
            throw mistyped(key, v, "an integer of 32 bits");
        }
        return v.intValue();
    }

    long longInteger(String key) {
        JsonNode v = take(key);
        if (!v.isIntegralNumber() || !v.canConvertToLong()) {
            throw mistyped(key, v, "an integer");
        }
        return v.longValue();
    }

    boolean bool(String key) {
        JsonNode v = take(key);
        if (!v.isBoolean()) {
            throw mistyped(key, v, "true or false");
        }
        return v.booleanValue();
    }

    double number(String key) {
        return number(key, take(key));
    }

    private double number(String key, JsonNode v) {
        if (v.isNumber()) {
            return v.doubleValue();
        }
        if (v.isTextual() && v.textValue().equals(POSITIVE)) {
            return Double.POSITIVE_INFINITY;
        }
        if (v.isTextual() && v.textValue().equals(NEGATIVE)) {
            return Double.NEGATIVE_INFINITY;
        }
        throw mistyped(key, v, "a number, \"" + POSITIVE + "\" or \"" + NEGATIVE + "\"");
    }

    <E extends Enum<E>> E constant(String key, Class<E> type) {
        JsonNode v = take(key);
        for (E e : type.getEnumConstants()) {
            if (v.isTextual() && e.name().equals(v.textValue())) {
                return e;
            }
        }
        throw mistyped(key, v, "one of " + Arrays.toString(type.getEnumConstants()));
    }

    private ArrayNode array(String key) {
        JsonNode v = take(key);
        if (!(v instanceof ArrayNode a)) {
            throw mistyped(key, v, "a list");
        }
        return a;
    }

    List<Integer> integers(String key) {
        List<Integer> all = new ArrayList<>();
        for (JsonNode v : array(key)) {
            all.add(integer(key, v));
        }
        return all;
    }

    List<Double> numbers(String key) {
        List<Double> all = new ArrayList<>();
        for (JsonNode v : array(key)) {
            all.add(number(key, v));
        }
        return all;
    }

    List<JsonFields> objects(String key) {
        List<JsonFields> all = new ArrayList<>();
        for (JsonNode v : array(key)) {
            if (!(v instanceof ObjectNode o)) {
                throw mistyped(key, v, "a list of objects");
            }
            all.add(new JsonFields(o, where + ", " + key + "[" + all.size() + "]"));
        }
        return all;
    }

    JsonFields object(String key) {
        JsonNode v = take(key);
        if (!(v instanceof ObjectNode o)) {
            throw mistyped(key, v, "an object");
        }
        return new JsonFields(o, where + ", " + key);
    }

    Map<String, String> texts(String key) {
        JsonFields fields = object(key);
        Map<String, String> all = new LinkedHashMap<>();
        for (String name : fields.names()) {
            all.put(name, fields.text(name));
        }
        return all;
    }
}
