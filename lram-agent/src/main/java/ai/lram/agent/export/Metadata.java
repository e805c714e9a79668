package ai.lram.agent.export;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.checkpoint.CardJson;
import ai.lram.agent.checkpoint.ConfigJson;
import ai.lram.agent.export.OnnxOptions.Form;
import ai.lram.agent.lram.Lram;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** Notes in an exported file, for programs (JSON) and people; {@code docs/onnx.md} lists them. */
final class Metadata {
    static final String FORMAT = "lram.format";
    static final String FORM = "lram.form";
    static final String WEIGHTS = "lram.weights";
    static final String TASKS = "lram.tasks";
    static final String INPUTS = "lram.inputs";
    static final String OUTPUTS = "lram.outputs";
    static final String STATES = "lram.states";
    static final String NORMALISATION = "lram.normalisation";
    static final String CARD = "lram.card";
    static final String CONFIG = "lram.config";
    static final String VERSION = "1";

    private static final String NORMALISED =
            """
            Everything is in raw units; the graph normalises by the task. Observation i becomes (x - mean) / std of the card's feature i. \
            return_to_go is limited to the card's returnRange; it and the reward are divided by rewardScale, and are zero where imitation is \
            true. An action is the mean of the bin centres under the softmax over the bins, scaled to encodeLow..encodeHigh of its feature \
            and added to the observation that relativeTo names; a discrete one is the most likely of the task's ids.""";

    private Metadata() {}

    static Map<String, String> of(Lram model, ModelCard card, OnnxOptions options, GraphBuilder g) {
        JsonNodeFactory json = JsonNodeFactory.instance;
        ArrayNode tasks = json.arrayNode();
        card.tasks().stream().map(TaskCard::id).forEach(tasks::add);
        ObjectNode states = json.objectNode();
        g.outputs().stream()
                .map(OnnxPort::name)
                .filter(n -> n.startsWith(BlockState.OUT))
                .forEach(n -> states.put(BlockState.IN + n.substring(BlockState.OUT.length()), n));
        Map<String, String> all = new LinkedHashMap<>();
        all.put(FORMAT, VERSION);
        all.put(FORM, lower(options.form()));
        all.put(WEIGHTS, lower(options.weights()));
        all.put(TASKS, tasks.toString());
        all.put(INPUTS, ports(g.inputs()).toString());
        all.put(OUTPUTS, ports(g.outputs()).toString());
        all.put(STATES, states.toString());
        if (options.form() == Form.TOKEN) {
            ArrayNode kinds = json.arrayNode();
            Inputs.TOKEN_KINDS.forEach(kinds::add);
            all.put("lram.tokens", kinds.toString());
        }
        all.put(NORMALISATION, NORMALISED);
        all.put(CARD, text(CardJson.write(card)));
        all.put(CONFIG, text(ConfigJson.write(ConfigJson.of(model))));
        return all;
    }

    private static ArrayNode ports(List<OnnxPort> ports) {
        ArrayNode all = JsonNodeFactory.instance.arrayNode();
        for (OnnxPort p : ports) {
            ObjectNode n = all.addObject();
            n.put("name", p.name());
            n.put("type", lower(p.type()));
            ArrayNode shape = n.putArray("shape");
            p.shape().forEach(d -> {
                if (d == OnnxOptions.ANY_BATCH) {
                    shape.add(OnnxPort.BATCH);
                } else {
                    shape.add(d);
                }
            });
            n.put("meaning", p.meaning());
        }
        return all;
    }

    private static String lower(Enum<?> e) {
        return e.name().toLowerCase(Locale.ROOT);
    }

    private static String text(byte[] utf8) {
        return new String(utf8, StandardCharsets.UTF_8);
    }
}
