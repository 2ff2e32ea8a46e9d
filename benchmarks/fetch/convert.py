"""From the files of the sources to the files of the sets.

A converter takes the paths of the downloads by name and returns contents by file name: a data
frame for parquet, a dictionary of arrays for npz, bytes for text.
"""

import numpy as np

from skdict._validation import import_optional

COMPARTMENTS = ("Image_", "Cells_", "Cytoplasm_", "Nuclei_")


def read_table(path):
    """Read a csv, csv.gz or parquet file."""
    pandas = import_optional("pandas", extra="io")
    if path.suffix == ".parquet":
        return pandas.read_parquet(path)
    return pandas.read_csv(path)


def labels(table, path, columns):
    """Label columns as text, named ``meta_...``, from the columns of the source."""
    missing = [column for column in columns.values() if column not in table]
    if missing:
        raise ValueError(f"{path.name} has no column {', '.join(missing)}")
    return {f"meta_{name}": text(table[column]) for name, column in columns.items()}


def text(values):
    """Values as text; whole numbers without a decimal point."""
    if values.dtype.kind == "f" and (values == values.round()).all():
        values = values.astype(np.int64)
    return values.astype(str)


def features(table):
    """CellProfiler measurements of a table, float32, in its order."""
    chosen = [name for name in table if name.startswith(COMPARTMENTS)]
    return table[chosen].select_dtypes("number").astype(np.float32)


def joined(label_columns, measurements):
    """One data frame: labels first."""
    pandas = import_optional("pandas", extra="io")
    return pandas.concat([pandas.DataFrame(label_columns), measurements], axis=1)


def stacked(tables):
    """Tables below one another with the columns that all have, in the order of the first."""
    pandas = import_optional("pandas", extra="io")
    common = [name for name in tables[0] if all(name in table for table in tables)]
    return pandas.concat([table[common] for table in tables], ignore_index=True)


def cmqtl(paths):
    """Two plates: each with all its features, and both with those that they share."""
    tables = {}
    columns = {"well": "Metadata_Well", "gene": "Metadata_target_gene"}
    for batch in ("Batch8", "Batch8Rerun"):
        path = paths[f"{batch}.csv.gz"]
        table = read_table(path)
        plate = labels(table, path, {"plate": "Metadata_Plate"})
        plate["meta_batch"] = np.full(len(table), batch, dtype=object)
        plate |= labels(table, path, columns | {"sample_id": "Metadata_sample_id"})
        n_cells = labels(table, path, {"n_cells": "Metadata_Count_Cells"})
        plate["meta_n_cells"] = n_cells["meta_n_cells"].astype(np.int32)
        plate["meta_is_control"] = plate["meta_gene"] == "CONTROL"
        tables[batch] = joined(plate, features(table))
    return {
        "wells.parquet": stacked(list(tables.values())),
        "batch8_all_features.parquet": tables["Batch8"],
        "batch8rerun_all_features.parquet": tables["Batch8Rerun"],
    }


def cytosummarynet(paths):
    """Plates below one another; the compound is a number in the source, too."""
    tables = []
    for name, path in paths.items():
        table = read_table(path)
        compound = labels(table, path, {"compound_id": "Metadata_labels"})["meta_compound_id"]
        embedded = [column for column in table if column[:1] == "f" and column[1:].isdigit()]
        columns = {
            "meta_plate": np.full(len(table), name.removesuffix(".csv"), dtype=object),
            "meta_compound_id": compound.astype(np.int16),
        }
        tables.append(joined(columns, table[embedded].astype(np.float32)))
    return {"wells.parquet": stacked(tables)}


def cardiac(paths):
    """Cells of four plates with the features that all of them have."""
    tables = []
    columns = {"plate": "Plate", "well": "Well", "site": "Site", "cell_type": "cell_type"}
    columns |= {"heart": "heart_number", "treatment": "treatment"}
    columns = {name: f"Metadata_{column}" for name, column in columns.items()}
    for path in paths.values():
        table = read_table(path)
        cells = labels(table, path, columns)
        cells["meta_is_control"] = cells["meta_cell_type"] == "healthy"
        tables.append(joined(cells, features(table)))
    return {"cells.parquet": stacked(tables)}


def deepprofiler(paths):
    """Embeddings and positions of the cells of five fields; float16 as in the folder."""
    pandas = import_optional("pandas", extra="io")
    embeddings, fields = [], []
    for name, path in paths.items():
        plate, well, site = name.removesuffix(".npz").split("_")
        with np.load(path, allow_pickle=False) as arrays:  # "metadata" is pickled: not read
            embeddings.append(arrays["features"].astype(np.float16))
            positions = np.asarray(arrays["locations"], np.float64)
        where = {"meta_plate": plate, "meta_well": well, "meta_site": site}
        field = pandas.DataFrame({"meta_x": positions[:, 0], "meta_y": positions[:, 1]})
        fields.append(field.assign(**where)[[*where, "meta_x", "meta_y"]])
    return {
        "features.npz": {"features": np.concatenate(embeddings)},
        "meta.parquet": pandas.concat(fields, ignore_index=True),
    }


def genesets(paths):
    """Copies, packed where the folder packs them; Reactome rewritten as GMT."""
    copies = ("hallmark_v7.0.symbols.gmt", "EFAAR_annotations_LICENSE.txt")
    packed = ("GO_Biological_Process_2021.gmt", "pairs_Reactome.csv", "pairs_HuMAP.csv")
    packed += ("pairs_StringDB.csv",)
    contents = {name: paths[name].read_bytes() for name in copies}
    contents |= {f"{name}.gz": paths[name].read_bytes() for name in packed}
    reactome = paths["Reactome_2016.txt"].read_text(encoding="utf-8")
    lines = [reactome_line(line) for line in reactome.splitlines() if line.strip()]
    return contents | {"Reactome_2016.gmt": "".join(lines).encode()}


def reactome_line(line):
    r"""A set of Enrichr as a line of GMT.

    Examples
    --------
    >>> reactome_line("Sperm Motility_Homo sapiens_R-HSA-1300642\t\tCATSPER2,1.0\tHVCN1,1.0\t")
    'Sperm Motility\tR-HSA-1300642\tCATSPER2\tHVCN1\n'
    """
    title, *genes = line.rstrip("\t").split("\t")
    name, _, identifier = title.partition("_Homo sapiens_")
    symbols = [gene.removesuffix(",1.0") for gene in genes if gene]
    return "\t".join([name, identifier, *symbols]) + "\n"
