"""Headers of entries as EMDB's data model 3 has them."""

import pytest

HEADER = """<?xml version="1.0" encoding="UTF-8"?>
<emd emdb_id="{id}" version="3.0.9.9" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
     xsi:noNamespaceSchemaLocation="https://ftp.ebi.ac.uk/pub/databases/emdb/doc/XML-schemas/emdb-schemas/v3/current/emdb.xsd">
  <admin>
    <current_status>
      <date>{updated}</date>
      <code>{status}</code>
      <processing_site>PDBe</processing_site>
    </current_status>
    <sites><deposition>PDBe</deposition><last_processing>PDBe</last_processing></sites>
    <key_dates>
      <deposition>2019-05-05</deposition>
      <header_release>2019-06-06</header_release>
      <map_release>{released}</map_release>
      <update>{updated}</update>
    </key_dates>
    <title>Cryo-EM structure of β-galactosidase &amp; a resolution of its own, "no, two"</title>
    <authors_list><author>Doe J</author></authors_list>
    <keywords>resolution, level</keywords>
  </admin>
  <crossreferences>
    <citation_list><primary_citation><journal_citation published="true">
      <author order="1">Doe J</author><title>On method</title><year>2019</year>
    </journal_citation></primary_citation></citation_list>
    <pdb_list><pdb_reference><pdb_id>6abc</pdb_id>
      <relationship><in_frame>FULLOVERLAP</in_frame></relationship></pdb_reference></pdb_list>
  </crossreferences>
  <sample><name>β-galactosidase</name></sample>
  <structure_determination_list>
    <structure_determination structure_determination_id="1">
      <method>{method}</method>
      <aggregation_state>particle</aggregation_state>
      <microscopy_list><single_particle_microscopy microscopy_id="1">
        <microscope>FEI TITAN KRIOS</microscope>
        <acceleration_voltage units="kV">300</acceleration_voltage>
      </single_particle_microscopy></microscopy_list>
      <{processing} image_processing_id="1">
        <final_reconstruction>
          <number_classes_used>1</number_classes_used>
          <applied_symmetry><point_group>D2</point_group></applied_symmetry>
          <algorithm>FOURIER SPACE</algorithm>
          {resolution}
          <resolution_method>FSC 0.143 CUT-OFF</resolution_method>
          <number_images_used>41123</number_images_used>
        </final_reconstruction>
      </{processing}>
    </structure_determination>
  </structure_determination_list>
  <map format="CCP4" size_kbytes="{kbytes}">
    <file>{file}</file>
    <symmetry><space_group>1</space_group></symmetry>
    <data_type>{data_type}</data_type>
    <dimensions><col>{dimensions[0]}</col><row>{dimensions[1]}</row><sec>{dimensions[2]}</sec></dimensions>
    <origin><col>0</col><row>0</row><sec>0</sec></origin>
    <spacing><x>{sampling[0]}</x><y>{sampling[1]}</y><z>{sampling[2]}</z></spacing>
    <cell>
      <a units="Å">{cell[0]}</a><b units="Å">{cell[1]}</b><c units="Å">{cell[2]}</c>
      <alpha units="deg">90.0</alpha><beta units="deg">90.0</beta><gamma units="deg">90.0</gamma>
    </cell>
    <axis_order><fast>{axes[0]}</fast><medium>{axes[1]}</medium><slow>{axes[2]}</slow></axis_order>
    <statistics>
      <minimum>-0.02</minimum><maximum>0.1</maximum><average>0.0003</average><std>0.004</std>
    </statistics>
    <pixel_spacing>
      <x units="Å">{pixel[0]}</x><y units="Å">{pixel[1]}</y><z units="Å">{pixel[2]}</z>
    </pixel_spacing>
    {contours}
    <label>::::EMDATABANK.org::::{id}::::</label>
    <details>resolution 99</details>
  </map>
  <interpretation>
    <half_map_list><half_map format="CCP4" size_kbytes="9"><file>other_half_map_1.map.gz</file>
      <dimensions><col>9</col><row>9</row><sec>9</sec></dimensions>
      <contour_list><contour primary="true"><level>9</level></contour></contour_list>
    </half_map></half_map_list>
  </interpretation>
</emd>
"""


@pytest.fixture(scope="session")
def header_xml():
    """`header_xml(number, **fields)`: the bytes of an entry's header; lengths and sizes in the order X Y Z."""

    def make(number, **fields):
        values = {
            "id": f"EMD-{number:04d}",
            "file": f"emd_{number:04d}.map.gz",
            "status": "REL",
            "released": "2020-01-01",
            "updated": "2021-02-03",
            "method": "singleParticle",
            "processing": "singleparticle_processing",
            "resolution": '<resolution res_type="BY AUTHOR" units="Å">4.2</resolution>',
            "data_type": "IMAGE STORED AS FLOATING POINT NUMBER (4 BYTES)",
            "dimensions": (120, 110, 100),
            "sampling": fields.get("dimensions", (120, 110, 100)),
            "pixel": (1.05, 1.05, 1.05),
            "axes": "XYZ",
            "kbytes": 5157,
            "contours": '<contour_list><contour primary="false"><level>0.5</level></contour>'
            '<contour primary="true"><level>0.025</level><source>AUTHOR</source></contour></contour_list>',
        } | fields
        values.setdefault("cell", [n * s for n, s in zip(values["sampling"], values["pixel"], strict=True)])
        return HEADER.format(**values).encode()

    return make
