package ai.lram.agent.checkpoint;

import ai.lram.agent.ConfigException;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.xlstm.Block;
import ai.lram.agent.xlstm.MlstmBlock;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.ops.MlstmSpec;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;

/** The shape of a model as {@code config.json}. Unknown and missing keys are refused by name. */
public final class ConfigJson {
    static final int FORMAT_VERSION = 1;

    private ConfigJson() {}

    /** A model's shape and the variant of its mLSTM cells. */
    public record Content(LramConfig config, MlstmSpec mlstm) {}

    /** Of a model; one without mLSTM blocks has the usual variant. */
    public static Content of(Lram model) {
        for (Block b : model.stack().blocks()) {
            if (b instanceof MlstmBlock m) {
                return new Content(model.config(), m.spec());
            }
        }
        return new Content(model.config(), MlstmSpec.exponential());
    }

    public static byte[] write(Content content) {
        LramConfig c = content.config();
        ObjectNode root = Json.MAPPER.createObjectNode();
        root.put("formatVersion", FORMAT_VERSION);
        root.put("stateDim", c.stateDim());
        root.put("actionDims", c.actionDims());
        root.put("discreteActions", c.discreteActions());
        root.put("bins", c.bins());
        root.put("images", c.images());
        root.put("publishedExtras", c.publishedExtras());
        ObjectNode backbone = root.putObject("backbone");
        backbone.put("width", c.backbone().width());
        backbone.put("blocks", c.backbone().blocks());
        backbone.put("heads", c.backbone().heads());
        ArrayNode at = backbone.putArray("slstmAt");
        c.backbone().slstmAt().forEach(at::add);
        ObjectNode mlstm = root.putObject("mlstm");
        mlstm.put("inputGate", content.mlstm().inputGate().name());
        mlstm.put("normalize", content.mlstm().normalize());
        mlstm.put("eps", content.mlstm().eps());
        mlstm.put("exactGradient", content.mlstm().exactGradient());
        mlstm.put("chunk", content.mlstm().chunk());
        return Json.bytes(root, true);
    }

    /**
     * @param where what to call the text in messages, usually its path
     * @throws CorruptCheckpointException if it is not JSON
     * @throws IncompatibleCheckpointException if keys are missing, unknown or out of range
     */
    public static Content read(byte[] json, String where) {
        JsonFields f = new JsonFields(Json.object(json, where), where);
        f.version(FORMAT_VERSION);
        JsonFields b = f.object("backbone");
        JsonFields m = f.object("mlstm");
        try {
            XlstmConfig backbone =
                    new XlstmConfig(b.integer("width"), b.integer("blocks"), b.integer("heads"), b.integers("slstmAt"));
            b.done();
            MlstmSpec mlstm = new MlstmSpec(
                    m.constant("inputGate", MlstmSpec.InputGate.class),
                    m.bool("normalize"),
                    (float) m.number("eps"),
                    m.bool("exactGradient"),
                    m.integer("chunk"));
            m.done();
            LramConfig config = new LramConfig(
                    f.integer("stateDim"),
                    f.integer("actionDims"),
                    f.integer("discreteActions"),
                    f.integer("bins"),
                    f.bool("images"),
                    f.bool("publishedExtras"),
                    backbone);
            f.done();
            return new Content(config, mlstm);
        } catch (ConfigException | IllegalArgumentException e) {
            throw new IncompatibleCheckpointException(
                    where + " describes no possible model", e.getMessage(), "correct the values named", e);
        }
    }
}
