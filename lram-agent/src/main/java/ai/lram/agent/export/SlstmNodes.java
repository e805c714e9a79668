package ai.lram.agent.export;

import ai.lram.agent.autodiff.Parameter;
import ai.lram.agent.xlstm.SlstmBlock;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.agent.xlstm.XlstmStack;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Supplier;

/** An sLSTM block, its recurrence written out token by token as {@link ai.lram.backend.ops.SlstmOps} says. */
final class SlstmNodes {
    private static final int GATES = 4;

    private final GraphBuilder g;
    private final Linear linear;
    private final Chunk chunk;
    private final BlockState state;
    private final SlstmBlock block;
    private final int heads;
    private final int dim;

    /** Output, cell, normaliser and stabiliser, (B, NH, 1, DH) each. */
    private record Cell(String y, String c, String n, String m) {
        List<String> parts() {
            return List.of(y, c, n, m);
        }
    }

    SlstmNodes(GraphBuilder g, Linear linear, Chunk chunk, BlockState state, SlstmBlock block, XlstmConfig config) {
        this.g = g;
        this.linear = linear;
        this.chunk = chunk;
        this.state = state;
        this.block = block;
        heads = config.heads();
        dim = config.width() / heads;
    }

    /** x (B, L, D) to x + cell(x), then + feed-forward. */
    String forward(String x) {
        String x1 = g.layerNorm(x, linear.residualScale(block.norm), null, XlstmStack.NORM.eps());
        String conv = g.silu(new ConvNodes(g, linear, chunk, state).forward(x1, block.conv, block.convBias));
        String cell = cell(inputs(conv, x1));
        String x2 = g.add(x, new HeadNorm(g, linear).forward(cell, block.headNorm(), block.groupNorm));
        String normed = g.layerNorm(x2, linear.residualScale(block.ffnNorm), null, XlstmStack.NORM.eps());
        int f = block.feedForward();
        List<String> gu = g.split(linear.large(normed, block.ffnUp), 2, f, f);
        return g.add(x2, linear.large(g.mul(g.gelu(gu.get(0)), gu.get(1)), block.ffnDown));
    }

    /** Gate inputs with bias, (B, NH, L, 4 DH) in order i, f, z, o. */
    private String inputs(String conv, String x1) {
        String fromConv = g.matMul(
                heads(conv), linear.headMaps(block.inputMap.name() + ".i_f", List.of(block.inputMap, block.forgetMap)));
        String fromX =
                g.matMul(heads(x1), linear.headMaps(block.zMap.name() + ".z_o", List.of(block.zMap, block.outputMap)));
        String bias = g.weight(block.bias.name(), byHead(block.bias), heads, 1, (long) GATES * dim);
        return g.add(g.concat(3, fromConv, fromX), bias);
    }

    private String heads(String a) {
        return g.transpose(g.reshape(a, 0, chunk.tokens(), heads, dim), 0, 2, 1, 3);
    }

    /** (4, NH, DH) as (NH, 1, 4, DH). */
    private Supplier<float[]> byHead(Parameter bias) {
        return () -> {
            float[] b = linear.values(bias).get();
            float[] t = new float[b.length];
            for (int gate = 0; gate < GATES; gate++) {
                for (int h = 0; h < heads; h++) {
                    System.arraycopy(b, (gate * heads + h) * dim, t, (h * GATES + gate) * dim, dim);
                }
            }
            return t;
        };
    }

    /** (B, L, NH, DH). */
    private String cell(String inputs) {
        int width = heads * dim;
        String old = chunk.keepState3(state.input("cell", "rows output, cell, normaliser, stabiliser", GATES, width));
        String byPart = g.reshape(old, 0, GATES, heads, 1, dim);
        Cell at = new Cell(g.pick(byPart, 1, 0), g.pick(byPart, 1, 1), g.pick(byPart, 1, 2), g.pick(byPart, 1, 3));
        String recurrent =
                g.weight(block.recurrent.name(), linear.values(block.recurrent), heads, dim, (long) GATES * dim);
        List<String> y = new ArrayList<>();
        for (int t = 0; t < chunk.tokens(); t++) {
            String raw = g.add(g.slice(inputs, 2, t, t + 1), g.matMul(at.y(), recurrent));
            at = next(at, g.split(raw, 3, dim, dim, dim, dim));
            if (t == 0) {
                at = new Cell(
                        chunk.keepState4(at.y()),
                        chunk.keepState4(at.c()),
                        chunk.keepState4(at.n()),
                        chunk.keepState4(at.m()));
            }
            y.add(at.y());
        }
        state.output(
                "cell",
                g.concat(
                        1,
                        at.parts().stream().map(p -> g.reshape(p, 0, 1, width)).toList()));
        return g.transpose(g.concat(2, y), 0, 2, 1, 3);
    }

    private Cell next(Cell at, List<String> raw) {
        String i = raw.get(0);
        String forget = g.add(at.m(), g.logSigmoid(raw.get(1)));
        String fresh = g.op("Equal", at.n(), g.scalar(0));
        String m = g.where(fresh, i, g.max(i, forget));
        String in = g.min(g.exp(g.sub(i, m)), g.scalar(1));
        String keep = g.min(g.exp(g.sub(forget, m)), g.scalar(1));
        String c = g.add(g.mul(keep, at.c()), g.mul(in, g.op("Tanh", raw.get(2))));
        String n = g.add(g.mul(keep, at.n()), in);
        String y = g.div(g.mul(g.op("Sigmoid", raw.get(3)), c), n);
        return new Cell(y, c, n, m);
    }
}
