package ai.lram.backend.cuda;

import ai.lram.backend.DType;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.EmbeddingOps;

/** Launches {@code embedding.cu}. Ids are checked by the device: one outside the table shows at the next synchronisation. */
final class CudaEmbedding implements EmbeddingOps {
    private final Engine engine;
    private final Kernel checkIds;
    private final Kernel lookup;
    private final Kernel lookupBackward;

    CudaEmbedding(Engine engine) {
        this.engine = engine;
        KernelModule module = new KernelModule(engine, "embedding");
        checkIds = module.kernel("check_ids");
        lookup = module.kernel("lookup");
        lookupBackward = module.kernel("lookup_backward");
    }

    /** @return columns of the table */
    private static int check(String kernel, Tensor ids, Tensor table, String name, Tensor y) {
        Check.size(kernel, "ids", ids, DType.I32, ids == null ? 1 : ids.size());
        Check.f32(kernel, "table", table);
        int rows = Math.toIntExact(ids.size());
        Check.f32(kernel, name, y, y == null ? rows : y.size());
        if (!(rows == 0 ? y.size() == 0 : y.size() % rows == 0 && y.size() > 0)) {
            throw Check.mismatch(
                    kernel + ": " + name + " is " + y, "there are " + rows + " ids", "pass one row for each id");
        }
        if (rows == 0) {
            return 0;
        }
        long width = y.size() / rows;
        if (!(table.size() % width == 0 && width <= Integer.MAX_VALUE)) {
            throw Check.mismatch(
                    kernel + ": table is " + table,
                    "its size is no multiple of the " + width + " columns of " + name,
                    "pass a table as wide as " + name);
        }
        return (int) width;
    }

    private void checkIds(Tensor ids, Tensor table, int width) {
        int rows = (int) ids.size();
        engine.launch(checkIds)
                .put(ids)
                .put(rows)
                .put(Math.toIntExact(table.size() / width))
                .faults()
                .run(engine.blocks(rows));
    }

    @Override
    public void lookup(Stream s, Tensor ids, Tensor table, Tensor y) {
        int width = check("lookup", ids, table, "y", y);
        if (width > 0) {
            checkIds(ids, table, width);
            engine.launch(lookup)
                    .put(ids)
                    .put(table)
                    .put(y)
                    .put(y.size())
                    .put(width)
                    .faults()
                    .run(engine.blocks(y.size()));
        }
    }

    @Override
    public void lookupBackward(Stream s, Tensor ids, Tensor dy, Tensor dtable) {
        int width = check("lookupBackward", ids, dtable, "dy", dy);
        if (width > 0) {
            checkIds(ids, dtable, width);
            engine.launch(lookupBackward)
                    .put(ids)
                    .put(dy)
                    .put(dtable)
                    .put((int) ids.size())
                    .put(width)
                    .faults()
                    .run((width + Engine.THREADS - 1L) / Engine.THREADS, dtable.size() / width, 1, Engine.THREADS, 0);
        }
    }
}
