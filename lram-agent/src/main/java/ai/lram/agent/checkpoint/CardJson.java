package ai.lram.agent.checkpoint;

import ai.lram.agent.card.ActionFeature;
import ai.lram.agent.card.CardException;
import ai.lram.agent.card.Fallback;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.ObservationFeature;
import ai.lram.agent.card.TaskCard;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeMap;

/** A model card as {@code card.json}. Infinite limits are the texts {@code "Infinity"} and {@code "-Infinity"}. */
public final class CardJson {
    private CardJson() {}

    public static byte[] write(ModelCard card) {
        ObjectNode root = Json.MAPPER.createObjectNode();
        root.put("formatVersion", card.formatVersion());
        root.put("name", card.name());
        ArrayNode tasks = root.putArray("tasks");
        for (TaskCard t : card.tasks()) {
            write(tasks.addObject(), t);
        }
        ObjectNode provenance = root.putObject("provenance");
        new TreeMap<>(card.provenance()).forEach(provenance::put);
        return Json.bytes(root, true);
    }

    private static void write(ObjectNode n, TaskCard t) {
        n.put("id", t.id());
        n.put("domain", t.domain());
        JsonFields.put(n, "rateHz", t.rateHz());
        ArrayNode observation = n.putArray("observation");
        for (ObservationFeature o : t.observation()) {
            ObjectNode f = observation.addObject();
            f.put("name", o.name());
            f.put("unit", o.unit());
            JsonFields.put(f, "min", o.min());
            JsonFields.put(f, "max", o.max());
            JsonFields.put(f, "mean", o.mean());
            JsonFields.put(f, "std", o.std());
        }
        ArrayNode image = n.putArray("imageShape");
        t.imageShape().forEach(image::add);
        ArrayNode action = n.putArray("action");
        for (ActionFeature a : t.action()) {
            ObjectNode f = action.addObject();
            f.put("name", a.name());
            f.put("unit", a.unit());
            JsonFields.put(f, "low", a.low());
            JsonFields.put(f, "high", a.high());
            JsonFields.put(f, "maxRate", a.maxRate());
            JsonFields.put(f, "encodeLow", a.encodeLow());
            JsonFields.put(f, "encodeHigh", a.encodeHigh());
            f.put("relativeTo", a.relativeTo());
        }
        n.put("discreteActions", t.discreteActions());
        JsonFields.put(n, "rewardScale", t.rewardScale());
        n.put("imitation", t.imitation());
        JsonFields.put(n, "targetReturn", t.targetReturn());
        n.put("maxEpisodeSteps", t.maxEpisodeSteps());
        n.put("fallback", t.fallback().name());
        ArrayNode safe = n.putArray("safeAction");
        t.safeAction().forEach(safe::add);
        ArrayNode range = n.putArray("returnRange");
        t.returnRange().forEach(range::add);
    }

    /**
     * @param where what to call the text in messages, usually its path
     * @throws CorruptCheckpointException if it is not JSON
     * @throws IncompatibleCheckpointException if keys are missing, unknown or out of range
     */
    public static ModelCard read(byte[] json, String where) {
        JsonFields f = new JsonFields(Json.object(json, where), where);
        f.version(ModelCard.FORMAT_VERSION);
        List<TaskCard> tasks = new ArrayList<>();
        for (JsonFields t : f.objects("tasks")) {
            tasks.add(task(t));
        }
        try {
            ModelCard card = new ModelCard(ModelCard.FORMAT_VERSION, f.text("name"), tasks, f.texts("provenance"));
            f.done();
            return card;
        } catch (CardException e) {
            throw unusable(where, e);
        }
    }

    private static TaskCard task(JsonFields t) {
        try {
            List<ObservationFeature> observation = new ArrayList<>();
            for (JsonFields o : t.objects("observation")) {
                observation.add(new ObservationFeature(
                        o.text("name"),
                        o.text("unit"),
                        o.number("min"),
                        o.number("max"),
                        o.number("mean"),
                        o.number("std")));
                o.done();
            }
            List<ActionFeature> action = new ArrayList<>();
            for (JsonFields a : t.objects("action")) {
                action.add(new ActionFeature(
                        a.text("name"),
                        a.text("unit"),
                        a.number("low"),
                        a.number("high"),
                        a.number("maxRate"),
                        a.number("encodeLow"),
                        a.number("encodeHigh"),
                        a.textOrNull("relativeTo")));
                a.done();
            }
            TaskCard card = new TaskCard(
                    t.text("id"),
                    t.text("domain"),
                    t.number("rateHz"),
                    observation,
                    t.integers("imageShape"),
                    action,
                    t.integer("discreteActions"),
                    t.number("rewardScale"),
                    t.bool("imitation"),
                    t.number("targetReturn"),
                    t.integer("maxEpisodeSteps"),
                    t.constant("fallback", Fallback.class),
                    t.numbers("safeAction"),
                    t.numbers("returnRange"));
            t.done();
            return card;
        } catch (CardException e) {
            throw unusable(t.where(), e);
        }
    }

    private static IncompatibleCheckpointException unusable(String where, CardException e) {
        return new IncompatibleCheckpointException(
                where + " is no usable model card", e.getMessage(), "correct the values named", e);
    }
}
